# kind: blocked
import os


def attack():
    os.mkdir("{marker}")
