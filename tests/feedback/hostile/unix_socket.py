# kind: blocked
import socket


def attack():
    socket.socket(socket.AF_UNIX).connect("{socket}")
