# kind: blocked
def attack():
    open("file", "w").write("x" * 10**9)
