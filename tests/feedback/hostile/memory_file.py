# kind: blocked
import os


def attack():
    return os.memfd_create("hidden")
