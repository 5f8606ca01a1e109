# kind: blocked
import os


def attack():
    return os.posix_spawn("/bin/sh", ["sh", "-c", "echo > {marker}"], {})
