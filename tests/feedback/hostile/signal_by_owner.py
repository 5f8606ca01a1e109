# kind: blocked
import fcntl


def attack():
    fcntl.fcntl(0, fcntl.F_SETOWN, {victim})
