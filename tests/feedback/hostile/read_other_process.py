# kind: blocked
import ctypes


def attack():
    libc = ctypes.CDLL(None)
    return libc.process_vm_readv({victim}, None, 0, None, 0, 0)
