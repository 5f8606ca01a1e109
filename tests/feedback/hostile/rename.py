# kind: blocked
import os


def attack():
    os.rename("{secret}", "{marker}")
