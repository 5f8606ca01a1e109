# kind: memory
import resource


def attack():
    try:
        most = resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ValueError, OSError):
        pass
    return len(bytearray(2**34))
