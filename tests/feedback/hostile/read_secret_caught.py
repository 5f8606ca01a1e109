# kind: failed
import os


def attack():
    for flags in (os.O_RDONLY, os.O_RDONLY | os.O_NONBLOCK, os.O_RDONLY | os.O_NOFOLLOW):
        try:
            print(os.read(os.open("{secret}", flags), 100))
        except OSError as error:
            print(error)
