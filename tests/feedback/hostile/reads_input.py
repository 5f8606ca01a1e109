# kind: failed
def attack():
    return int(input())
