# kind: failed
def attack():
    kept = [open("/dev/null") for _ in range(1000)]
    return 42 if kept else None
