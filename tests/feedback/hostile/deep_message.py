# kind: failed
import os


def attack():
    for number in range(3, 64):
        try:
            os.write(number, b"[" * 10**6 + b"\n")
        except OSError:
            pass
