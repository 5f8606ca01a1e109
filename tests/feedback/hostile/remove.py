# kind: blocked
import os


def attack():
    os.remove("{secret}")
