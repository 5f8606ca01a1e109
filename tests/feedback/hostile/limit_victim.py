# kind: blocked
import resource


def attack():
    resource.prlimit({victim}, resource.RLIMIT_CPU, (0, 0))
