# kind: timeout
import re


def attack():
    return re.match(r"(a|a)*b", "a" * 40)
