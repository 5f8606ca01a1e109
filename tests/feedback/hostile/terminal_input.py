# kind: failed
import fcntl
import termios


def attack():
    fcntl.ioctl(0, termios.TIOCSTI, b"x")
