# kind: blocked
import os


def attack():
    os.chmod("{secret}", 0o777)
