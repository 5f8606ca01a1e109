# kind: blocked
def attack():
    with open("/proc/self/mem", "r+b") as memory:
        memory.seek(id(attack))
        memory.write(b"x")
