# kind: failed
import mmap


def attack():
    return len(mmap.mmap(-1, 2**34))
