# kind: blocked
import ctypes


def attack():
    return ctypes.CDLL(None).syscall(425, 8, None)
