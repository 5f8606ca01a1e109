# kind: blocked
import os


def attack():
    os.write(os.open("{secret}", os.O_WRONLY | os.O_APPEND), b"was here")
