# kind: blocked
def attack():
    print(open("/proc/{parent}/environ").read())
