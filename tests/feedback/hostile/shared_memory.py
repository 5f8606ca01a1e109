# kind: blocked
from multiprocessing.shared_memory import SharedMemory


def attack():
    return SharedMemory(create=True, size=100).name
