# kind: blocked
import os


def attack():
    print(os.listdir("/"))
