# kind: failed
import os

for number in range(3, 64):
    try:
        os.write(number, b'["passed", ""]\n')
    except OSError:
        pass


def attack():
    return 42
