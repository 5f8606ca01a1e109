# kind: failed
def attack():
    return attack()
