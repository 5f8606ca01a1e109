# kind: blocked
import os
import signal


def attack():
    os.kill({victim}, signal.SIGKILL)
