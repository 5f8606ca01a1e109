# kind: blocked
import socket


def attack():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(b"was here", ("127.0.0.1", {port}))
