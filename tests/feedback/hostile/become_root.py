# kind: blocked
import os


def attack():
    os.setuid(0)
