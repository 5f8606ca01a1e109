# kind: blocked
import os
import signal


def attack():
    signal.pidfd_send_signal(os.pidfd_open({victim}), signal.SIGKILL)
