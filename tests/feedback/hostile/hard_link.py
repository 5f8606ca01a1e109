# kind: blocked
import os


def attack():
    os.link("{secret}", "{marker}")
