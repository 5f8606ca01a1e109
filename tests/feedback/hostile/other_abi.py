# kind: blocked
import ctypes


def attack():
    if "{machine}" != "x86_64":
        return ctypes.CDLL(None).syscall(198, 2, 1, 0)
    return ctypes.CDLL(None).syscall(0x40000000 + 39)
