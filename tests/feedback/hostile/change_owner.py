# kind: blocked
import os


def attack():
    os.chown("{secret}", os.getuid(), os.getgid())
