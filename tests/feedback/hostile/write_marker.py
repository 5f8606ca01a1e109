# kind: blocked
def attack():
    open("{marker}", "w").write("was here")
