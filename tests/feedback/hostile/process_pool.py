# kind: blocked
from multiprocessing import Process


def attack():
    process = Process(target=print, args=("out",))
    process.start()
    return 42
