# kind: crashed
import os


def attack():
    os._exit(0)
