# kind: memory
def attack():
    kept = []
    while True:
        kept.append(bytearray(10**7))
