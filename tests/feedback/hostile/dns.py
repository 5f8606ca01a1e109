# kind: blocked
import socket


def attack():
    return socket.getaddrinfo("example.org", 80)
