# kind: blocked
import os


def attack():
    os.utime("{secret}", (0, 0))
