# kind: blocked
import socket


def attack():
    socket.create_connection(("127.0.0.1", {port}), 1).send(b"was here")
