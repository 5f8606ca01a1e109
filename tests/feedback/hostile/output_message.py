# kind: output
import os


def attack():
    for number in range(3, 32):
        try:
            while True:
                os.write(number, b"[" * 10_000)
        except OSError:
            pass
