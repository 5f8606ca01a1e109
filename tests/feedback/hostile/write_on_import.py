# kind: blocked
open("{marker}", "w").write("was here")


def attack():
    return 42
