# kind: failed
def attack():
    return len([open("/dev/null") for _ in range(1000)])
