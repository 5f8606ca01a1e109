# kind: blocked
def attack():
    with open("/proc/{parent}/maps") as file:
        return file.read()
