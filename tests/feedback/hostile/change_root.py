# kind: blocked
import os


def attack():
    os.chroot("/")
