# kind: timeout
def attack():
    return (10 ** (10**8)) % 7
