# kind: timeout
import time


def attack():
    time.sleep(1000)
    return 42
