# kind: blocked
import os


def attack():
    return os.system("echo > {marker}") or 42
