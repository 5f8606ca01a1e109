# kind: blocked
import os


def attack():
    os.symlink("{secret}", "{marker}")
