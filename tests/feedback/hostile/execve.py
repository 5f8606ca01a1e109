# kind: blocked
import os


def attack():
    os.execv("/bin/sh", ["sh", "-c", "echo > {marker}"])
