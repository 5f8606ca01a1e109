# kind: failed
import mmap


def attack():
    return 42 if mmap.mmap(-1, 2**34) else None
