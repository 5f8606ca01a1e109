# kind: memory
def attack():
    return len("a" * 10**12)
