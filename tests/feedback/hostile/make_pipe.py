# kind: blocked
import os


def attack():
    os.mkfifo("{marker}")
