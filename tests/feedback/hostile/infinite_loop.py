# kind: timeout
def attack():
    while True:
        pass
