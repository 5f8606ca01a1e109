# kind: blocked
import subprocess


def attack():
    subprocess.run(["touch", "{marker}"])
    return 42
