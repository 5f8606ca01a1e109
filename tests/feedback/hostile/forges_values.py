# kind: failed
import os


def attack():
    for number in range(3, 64):
        try:
            os.write(number, b'["value", {"d": [[{"l": []}, 1]]}, []]\n')
        except OSError:
            pass
