# kind: failed

found = []
for number in range(1, 40_000):
    try:
        found.append(open(f"/proc/{number}/cmdline").read())
    except OSError:
        pass


def attack():
    return 42 if found else None
