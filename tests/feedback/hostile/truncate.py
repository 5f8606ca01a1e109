# kind: blocked
import os


def attack():
    os.truncate("{secret}", 0)
