# kind: output
def attack():
    return "x" * 10**7
