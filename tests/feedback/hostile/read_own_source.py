# kind: blocked
def attack():
    print(open("{source}").read())
