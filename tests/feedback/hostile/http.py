# kind: blocked
from urllib.request import urlopen


def attack():
    return urlopen("http://127.0.0.1:{port}/").read()
