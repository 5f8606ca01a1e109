# kind: blocked
def attack():
    print(open("/etc/passwd").read())
