# kind: blocked
import ctypes


def attack():
    return ctypes.CDLL(None).syscall(41 if "{machine}" == "x86_64" else 198, 2, 1, 0)
