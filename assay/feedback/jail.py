"""The walls of the sandbox: what a process gives up for ever before it runs untrusted Python.

Run as a script by :mod:`assay.feedback.sandbox`, isolated and without site packages, so it imports
the standard library alone. In this order: limits of resources, another user where it was root, no
new privileges, Landlock (which files may be read), seccomp (which system calls there are). After
that nothing is opened for writing, no socket, process or thread is made, no other process is
touched. Nothing here undoes itself: the process ends.

Landlock: https://docs.kernel.org/userspace-api/landlock.html. Seccomp:
https://docs.kernel.org/userspace-api/seccomp_filter.html. Numbers of system calls:
``arch/x86/entry/syscalls/syscall_64.tbl`` and ``include/uapi/asm-generic/unistd.h`` of Linux.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import stat
import struct
import sys
from collections.abc import Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple

NOBODY = 65534
"""The user that root becomes."""

ALLOW = 0x7FFF0000
KILL = 0x80000000
ERRNO = 0x00050000
EPERM, ENOTTY, ENOSYS = 1, 25, 38

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16  # of struct seccomp_data
_X32 = 0x40000000
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FCNTL = (0, 1, 2, 3, 4, 1030)  # duplicate, and read and set flags; not: own, lease, signal, seal
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5450, 0x5451)  # is it a terminal, how much is there, cloexec

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant."""


class Machine(NamedTuple):
    """What the filter has to know of a processor: its tag, and its numbers of system calls."""

    tag: int
    calls: Mapping[str, int]


_X86_64 = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7,
    "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13,
    "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "pread64": 17, "readv": 19,
    "writev": 20, "access": 21, "pipe": 22, "select": 23, "sched_yield": 24, "mremap": 25,
    "madvise": 28, "shmget": 29, "shmat": 30, "shmctl": 31, "dup": 32, "dup2": 33, "pause": 34,
    "nanosleep": 35, "getitimer": 36, "alarm": 37, "setitimer": 38, "getpid": 39, "socket": 41,
    "connect": 42, "accept": 43, "sendto": 44, "sendmsg": 46, "bind": 49, "listen": 50,
    "socketpair": 53, "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "exit": 60,
    "kill": 62, "uname": 63, "semget": 64, "msgget": 68, "fcntl": 72, "truncate": 76,
    "ftruncate": 77, "getdents": 78, "getcwd": 79, "rename": 82, "mkdir": 83, "rmdir": 84,
    "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "readlink": 89, "chmod": 90,
    "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94, "umask": 95, "gettimeofday": 96,
    "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "times": 100, "ptrace": 101, "getuid": 102,
    "getgid": 104, "setuid": 105, "setgid": 106, "geteuid": 107, "getegid": 108, "getppid": 110,
    "setreuid": 113, "setregid": 114, "getgroups": 115, "setresuid": 117, "getresuid": 118,
    "setresgid": 119, "getresgid": 120, "rt_sigpending": 127, "rt_sigtimedwait": 128,
    "rt_sigqueueinfo": 129, "rt_sigsuspend": 130, "sigaltstack": 131, "mknod": 133,
    "pivot_root": 155, "chroot": 161, "mount": 165, "umount2": 166, "swapon": 167,
    "reboot": 169, "init_module": 175, "gettid": 186, "setxattr": 188, "tkill": 200,
    "time": 201, "futex": 202, "sched_getaffinity": 204, "getdents64": 217,
    "set_tid_address": 218, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230,
    "exit_group": 231, "tgkill": 234, "mq_open": 240, "add_key": 248, "request_key": 249,
    "keyctl": 250, "openat": 257, "mkdirat": 258, "mknodat": 259, "fchownat": 260,
    "newfstatat": 262, "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266,
    "readlinkat": 267, "fchmodat": 268, "faccessat": 269, "pselect6": 270, "ppoll": 271,
    "unshare": 272, "set_robust_list": 273, "get_robust_list": 274, "utimensat": 280,
    "dup3": 292, "pipe2": 293, "rt_tgsigqueueinfo": 297, "perf_event_open": 298,
    "prlimit64": 302, "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308,
    "process_vm_readv": 310, "process_vm_writev": 311, "finit_module": 313, "renameat2": 316,
    "getrandom": 318, "memfd_create": 319, "bpf": 321, "execveat": 322, "userfaultfd": 323,
    "membarrier": 324, "statx": 332, "rseq": 334,
}  # fmt: skip
_AARCH64 = {
    "setxattr": 5, "getcwd": 17, "dup": 23, "dup3": 24, "fcntl": 25, "ioctl": 29, "mknodat": 33,
    "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "umount2": 39,
    "mount": 40, "pivot_root": 41, "truncate": 45, "ftruncate": 46, "faccessat": 48,
    "chroot": 51, "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55, "openat": 56,
    "close": 57, "pipe2": 59, "getdents64": 61, "lseek": 62, "read": 63, "write": 64,
    "readv": 65, "writev": 66, "pread64": 67, "pselect6": 72, "ppoll": 73, "readlinkat": 78,
    "newfstatat": 79, "fstat": 80, "utimensat": 88, "exit": 93, "exit_group": 94,
    "set_tid_address": 96, "unshare": 97, "futex": 98, "set_robust_list": 99,
    "get_robust_list": 100, "nanosleep": 101, "getitimer": 102, "setitimer": 103,
    "init_module": 105, "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115,
    "ptrace": 117, "sched_getaffinity": 123, "sched_yield": 124, "kill": 129, "tkill": 130,
    "tgkill": 131, "sigaltstack": 132, "rt_sigsuspend": 133, "rt_sigaction": 134,
    "rt_sigprocmask": 135, "rt_sigpending": 136, "rt_sigtimedwait": 137, "rt_sigqueueinfo": 138,
    "rt_sigreturn": 139, "reboot": 142, "setregid": 143, "setgid": 144, "setreuid": 145,
    "setuid": 146, "setresuid": 147, "getresuid": 148, "setresgid": 149, "getresgid": 150,
    "times": 153, "getgroups": 158, "uname": 160, "getrlimit": 163, "getrusage": 165,
    "umask": 166, "gettimeofday": 169, "getpid": 172, "getppid": 173, "getuid": 174,
    "geteuid": 175, "getgid": 176, "getegid": 177, "gettid": 178, "sysinfo": 179,
    "mq_open": 180, "msgget": 186, "semget": 190, "shmget": 194, "shmctl": 195, "shmat": 196,
    "socket": 198, "socketpair": 199, "bind": 200, "listen": 201, "accept": 202, "connect": 203,
    "sendto": 206, "sendmsg": 211, "brk": 214, "munmap": 215, "mremap": 216, "add_key": 217,
    "request_key": 218, "keyctl": 219, "clone": 220, "execve": 221, "mmap": 222, "swapon": 224,
    "mprotect": 226, "madvise": 233, "rt_tgsigqueueinfo": 240, "perf_event_open": 241,
    "prlimit64": 261, "name_to_handle_at": 264, "open_by_handle_at": 265, "setns": 268,
    "process_vm_readv": 270, "process_vm_writev": 271, "finit_module": 273, "renameat2": 276,
    "getrandom": 278, "memfd_create": 279, "bpf": 280, "execveat": 281, "userfaultfd": 282,
    "membarrier": 283, "statx": 291, "rseq": 293,
}  # fmt: skip
_SHARED = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "pidfd_open": 434, "clone3": 435, "openat2": 437, "pidfd_getfd": 438,
    "faccessat2": 439, "process_madvise": 440, "mount_setattr": 442, "fchmodat2": 452,
}  # fmt: skip
MACHINES = {
    "x86_64": Machine(0xC000003E, {**_X86_64, **_SHARED}),
    "aarch64": Machine(0xC00000B7, {**_AARCH64, **_SHARED}),
}

ALLOWED = (
    "read", "write", "close", "stat", "fstat", "lstat", "poll", "lseek", "mmap", "mprotect",
    "munmap", "brk", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "pread64", "readv",
    "writev", "access", "pipe", "select", "sched_yield", "mremap", "madvise", "dup", "dup2",
    "pause", "nanosleep", "getitimer", "alarm", "setitimer", "getpid", "exit", "uname",
    "getdents", "getcwd", "readlink", "umask", "gettimeofday", "getrlimit", "getrusage",
    "sysinfo", "times", "getuid", "getgid", "geteuid", "getegid", "getppid", "getgroups",
    "getresuid", "getresgid", "rt_sigpending", "rt_sigtimedwait", "rt_sigsuspend",
    "sigaltstack", "gettid", "time", "futex", "sched_getaffinity", "getdents64",
    "set_tid_address", "clock_gettime", "clock_getres", "clock_nanosleep", "exit_group",
    "newfstatat", "readlinkat", "faccessat", "pselect6", "ppoll", "set_robust_list",
    "get_robust_list", "dup3", "pipe2", "getrandom", "membarrier", "statx", "rseq",
    "faccessat2",
)  # fmt: skip
"""Calls that only concern the process itself and what is open or may be read."""

FATAL = (
    "shmget", "shmat", "shmctl", "socket", "connect", "accept", "sendto", "sendmsg", "bind",
    "listen", "socketpair", "clone", "fork", "vfork", "execve", "semget", "msgget", "truncate",
    "ftruncate", "rename", "mkdir", "rmdir", "creat", "link", "unlink", "symlink", "chmod",
    "fchmod", "chown", "fchown", "lchown", "ptrace", "setuid", "setgid", "setreuid", "setregid",
    "setresuid", "setresgid", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "mknod", "pivot_root",
    "chroot", "mount", "umount2", "swapon", "reboot", "init_module", "setxattr", "mq_open",
    "add_key", "request_key", "keyctl", "mkdirat", "mknodat", "fchownat", "unlinkat",
    "renameat", "linkat", "symlinkat", "fchmodat", "unshare", "utimensat", "perf_event_open",
    "name_to_handle_at", "open_by_handle_at", "setns", "process_vm_readv", "process_vm_writev",
    "finit_module", "renameat2", "memfd_create", "bpf", "execveat", "userfaultfd",
    "pidfd_send_signal", "io_uring_setup", "open_tree", "move_mount", "fsopen", "pidfd_open",
    "clone3", "pidfd_getfd", "process_madvise", "mount_setattr", "fchmodat2",
)  # fmt: skip
"""Calls whose mere attempt ends the process; what is in neither list is refused with EPERM."""


def filter_program(machine: Machine, pid: int) -> list[Instruction]:
    """The seccomp filter of a process, as instructions of classic BPF.

    Args:
        pid: The process itself: it may signal nobody else.
    """
    calls = machine.calls
    program = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_EQUAL, 1, 0, machine.tag),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, KILL),
    ]
    for names, action in ((ALLOWED, ALLOW), (FATAL, KILL)):
        for name in names:
            if name in calls:  # older processors have calls that newer ones left out
                program += _when(calls[name], [(_RETURN, 0, 0, action)])
    for name, argument in (("open", 1), ("openat", 2)):
        if name in calls:
            body = [_argument(argument), (_ANY_BIT, 1, 0, _WRITES)]
            program += _when(calls[name], [*body, *_returns(ALLOW, KILL)])
    for name in ("kill", "tkill", "tgkill"):
        body = [_argument(0), (_EQUAL, 0, 1, pid)]
        program += _when(calls[name], [*body, *_returns(ALLOW, KILL)])
    for name, commands, error in (("fcntl", _FCNTL, EPERM), ("ioctl", _IOCTL, ENOTTY)):
        body = [_argument(1)]
        for command in commands:
            body += [(_EQUAL, 0, 1, command), (_RETURN, 0, 0, ALLOW)]
        program += _when(calls[name], [*body, (_RETURN, 0, 0, ERRNO | error)])
    # one's own limits may be read: process 0, and a new limit that is a null pointer
    body = []
    for place, half, left in ((0, 0, 5), (2, 0, 3), (2, 4, 1)):
        body += [_argument(place, half), (_EQUAL, 0, left, 0)]
    program += _when(calls["prlimit64"], [*body, *_returns(ALLOW, ERRNO | EPERM)])
    program += _when(calls["openat2"], [(_RETURN, 0, 0, ERRNO | ENOSYS)])
    return [*program, (_RETURN, 0, 0, ERRNO | EPERM)]


def _when(number: int, body: list[Instruction]) -> list[Instruction]:
    """The body, jumped over by any other call; it must end with a return."""
    return [(_EQUAL, 0, len(body), number), *body]


def _argument(place: int, offset: int = 0) -> Instruction:
    """Load half an argument: the lower at offset 0, on processors that store it first."""
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * place + offset)


def _returns(first: int, second: int) -> list[Instruction]:
    return [(_RETURN, 0, 0, first), (_RETURN, 0, 0, second)]


# --- the kernel -----------------------------------------------------------------------------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _SET_DUMPABLE, _KEEP_CAPABILITIES = 38, 22, 4, 8
_DIE_WITH_PARENT = 1
_READ_ANYTHING = 2  # CAP_DAC_READ_SEARCH


class JailError(RuntimeError):
    """A wall could not be put up; nothing was run."""


def missing_walls() -> str | None:
    """What this system lacks for the sandbox, as the end of a sentence; None if it has it all."""
    if sys.platform != "linux":
        return f"the system is {sys.platform}, not Linux"
    if platform.machine() not in MACHINES:
        return f"no table of system calls is kept for the processor {platform.machine()}"
    if _landlock_version() < 1:
        return "the kernel has no Landlock, or it is switched off"
    if not Path("/proc/sys/kernel/seccomp").is_dir() and _libc().prctl(21, 0, 0, 0, 0) < 0:
        return "the kernel has no seccomp filters"
    return None


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _landlock_version() -> int:
    """The version of Landlock; negative where there is none."""
    return int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1))


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise JailError(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def readable_paths() -> list[str]:
    """What the process may read: the standard library, and the shared libraries it needs."""
    import sysconfig  # in Assay's own process, which tells the others; it takes long to load

    library = sysconfig.get_paths()
    paths = [
        library["stdlib"], library["platstdlib"], sysconfig.get_config_var("LIBDIR") or "",
        "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo",
        "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random",
    ]  # fmt: skip
    return [path for path in dict.fromkeys(paths) if path and Path(path).exists()]


# these run in the process that is walled in, where coverage cannot see them; the hostile programs
# of the tests show what each of them holds


def limit_resources(limits: Mapping[str, int]) -> None:  # pragma: no cover
    """Set the limits of processor time, memory, files and processes, hard ones too."""
    values = {
        resource.RLIMIT_CPU: limits["cpu_seconds"],
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for what, value in values.items():
        _, hard = resource.getrlimit(what)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (most, most))


def become_nobody() -> None:  # pragma: no cover
    """Where the process is root, make it nobody, without groups.

    It keeps one capability, to read past permissions, and only if its own Python lies where others
    may not look (under ``/root``, say). Landlock, which no capability overrides, then still holds
    it to :func:`readable_paths`.
    """
    if os.geteuid() != 0:
        return
    keep = 0 if _others_may_read(Path(os.__file__)) else 1 << _READ_ANYTHING
    libc = _libc()
    if keep:
        _checked(libc.prctl(_KEEP_CAPABILITIES, 1, 0, 0, 0), "keep a capability")
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0), 8)
    sets = ctypes.create_string_buffer(struct.pack("=6I", keep, keep, 0, 0, 0, 0), 24)
    _checked(libc.capset(header, sets), "give up capabilities")
    if 0 in (*os.getresuid(), *os.getresgid()) or os.getgroups():
        raise JailError("the process is still root")


def _others_may_read(path: Path) -> bool:
    """Whether anybody may read a file, by the permissions of it and the folders above."""
    real = path.resolve()
    open_folders = all(p.stat().st_mode & stat.S_IXOTH for p in real.parents)
    return open_folders and bool(real.stat().st_mode & stat.S_IROTH)


def restrict_files(paths: Sequence[str]) -> None:  # pragma: no cover
    """Landlock: these paths may be read, and nothing else may be done with any file.

    Of what the kernel's version knows besides, connections, abstract sockets and signals are
    given up too.
    """
    libc, version = _libc(), _landlock_version()
    rights = 13 + (version >= 2) + (version >= 3) + (version >= 5)
    attributes = struct.pack("=Q", (1 << rights) - 1)
    if version >= 4:
        attributes += struct.pack("=Q", 3)
    if version >= 6:
        attributes += struct.pack("=Q", 3)
    size = ctypes.c_size_t(len(attributes))
    ruleset = _checked(libc.syscall(_CREATE_RULESET, attributes, size, 0), "make Landlock's rules")
    for path in paths:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        is_folder = stat.S_ISDIR(os.fstat(place).st_mode)
        allowed = _READ_FILE | _READ_DIR if is_folder else _READ_FILE
        rule = struct.pack("=Qi", allowed, place)
        _checked(libc.syscall(_ADD_RULE, ruleset, 1, rule, 0), f"let '{path}' be read")
        os.close(place)
    _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0), "enter Landlock")
    os.close(ruleset)


def restrict_calls() -> None:  # pragma: no cover
    """Seccomp: only the system calls of :func:`filter_program`."""
    program = filter_program(MACHINES[platform.machine()], os.getpid())
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    head = struct.pack("@HxxxxxxQ", len(program), ctypes.addressof(code))
    _checked(_libc().prctl(_SET_SECCOMP, 2, ctypes.create_string_buffer(head), 0, 0), "seccomp")


def enter(limits: Mapping[str, int], paths: Sequence[str], parent: int) -> None:  # pragma: no cover
    """Put up every wall around this process.

    Args:
        parent: The process that started it, after which it is not to live on.

    Raises:
        JailError: If one of them does not stand.
    """
    if missing := missing_walls():
        raise JailError(missing)
    if limits["cpu_seconds"] < 1:
        raise JailError("a limit of less than a second")
    libc = _libc()
    become_nobody()
    _checked(libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0), "end with Assay")
    if os.getppid() != parent:
        raise JailError("Assay has ended")
    _checked(libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0), "close the memory to others")
    _checked(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "give up new privileges")
    restrict_files(paths)
    limit_resources(limits)
    restrict_calls()


def main(role: str, setup: int, channel: int, ready: int, verdict: int) -> None:  # pragma: no cover
    """Read what to run, put up the walls, say so, and run it."""
    with os.fdopen(setup, "rb") as file:
        given = json.load(file)
    spec = spec_from_file_location("jail_peer", Path(__file__).with_name("jail_peer.py"))
    assert spec is not None
    assert spec.loader is not None
    peer = module_from_spec(spec)
    sys.modules["jail_peer"] = peer  # dataclasses look their module up
    spec.loader.exec_module(peer)
    try:
        enter(given["limits"], given["paths"], given["parent"])
    except Exception as error:
        os.write(ready, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    os.write(ready, b"ready")
    os.close(ready)
    sys.argv = [""]
    if role == "worker":
        peer.work(given["code"], channel)
    else:
        peer.examine(given["tests"], given["redefined"], given["objects"], channel, verdict)


if __name__ == "__main__":  # pragma: no cover
    main(sys.argv[1], *map(int, sys.argv[2:]))
