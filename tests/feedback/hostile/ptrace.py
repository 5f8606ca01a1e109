# kind: blocked
import ctypes


def attack():
    return ctypes.CDLL(None).ptrace(16, {victim}, 0, 0)
