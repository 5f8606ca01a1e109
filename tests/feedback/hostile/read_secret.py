# kind: blocked
def attack():
    print(open("{secret}").read())
