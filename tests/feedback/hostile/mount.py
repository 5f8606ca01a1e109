# kind: blocked
import ctypes


def attack():
    return ctypes.CDLL(None).mount(b"none", b"/", b"tmpfs", 0, None)
