"""What a process gives up before it runs somebody else's code: file descriptors, resources, capabilities, system calls.

The filter is what makes one case one process: it can start threads, and nothing else. So address space bounds memory, and
there are no fork bombs, zombies or programs that live on. A list of refusals, on top of namespaces that hide the rest.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct

libc = ctypes.CDLL(None, use_errno=True)

# One row a system call: name, number on x86_64, number on aarch64 (None: it does not exist there).
REFUSED = (
    ("fork", 57, None),
    ("vfork", 58, None),
    ("execve", 59, 221),
    ("execveat", 322, 281),
    ("ptrace", 101, 117),
    ("process_vm_readv", 310, 270),
    ("process_vm_writev", 311, 271),
    ("process_madvise", 440, 440),
    ("process_mrelease", 448, 448),
    ("kcmp", 312, 272),
    ("pidfd_open", 434, 434),
    ("pidfd_getfd", 438, 438),
    ("pidfd_send_signal", 424, 424),
    ("tkill", 200, 130),
    ("rt_sigqueueinfo", 129, 138),
    ("rt_tgsigqueueinfo", 297, 240),
    ("socket", 41, 198),
    ("unshare", 272, 97),
    ("setns", 308, 268),
    ("mount", 165, 40),
    ("umount2", 166, 39),
    ("pivot_root", 155, 41),
    ("chroot", 161, 51),
    ("open_tree", 428, 428),
    ("move_mount", 429, 429),
    ("fsopen", 430, 430),
    ("fsconfig", 431, 431),
    ("fsmount", 432, 432),
    ("fspick", 433, 433),
    ("mount_setattr", 442, 442),
    ("add_key", 248, 217),
    ("request_key", 249, 218),
    ("keyctl", 250, 219),
    ("bpf", 321, 280),
    ("perf_event_open", 298, 241),
    ("userfaultfd", 323, 282),
    ("io_uring_setup", 425, 425),
    ("io_uring_enter", 426, 426),
    ("io_uring_register", 427, 427),
    ("memfd_create", 319, 279),  # memory that no limit counts
    ("memfd_secret", 447, 447),
    ("shmget", 29, 194),
    ("msgget", 68, 186),
    ("semget", 64, 190),
    ("mq_open", 240, 180),
    ("name_to_handle_at", 303, 264),
    ("open_by_handle_at", 304, 265),
    ("fanotify_init", 300, 262),
    ("migrate_pages", 256, 238),
    ("move_pages", 279, 239),
    ("init_module", 175, 105),
    ("finit_module", 313, 273),
    ("delete_module", 176, 106),
    ("kexec_load", 246, 104),
    ("kexec_file_load", 320, 294),
    ("reboot", 169, 142),
    ("swapon", 167, 224),
    ("swapoff", 168, 225),
    ("acct", 163, 89),
    ("quotactl", 179, 60),
    ("syslog", 103, 116),
    ("iopl", 172, None),
    ("ioperm", 173, None),
)
# clone, clone3, kill, tgkill, prlimit64: refused but for what a single process needs.
CALLS = {"x86_64": (56, 435, 62, 234, 302), "aarch64": (220, 435, 129, 131, 261)}
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000  # the other calling convention of an x86_64 kernel
CLONE_THREAD = 0x00010000
EPERM, ENOSYS = 1, 38

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 4, 22, 38, 47


def filtered() -> bool:
    """Whether this machine's system calls are known here."""
    return platform.machine() in ARCHITECTURES


def program(machine: str, pid: int) -> bytes:
    """The filter as classic BPF, for a process `pid` on `machine`."""
    clone, clone3, kill, tgkill, prlimit = CALLS[machine]
    column = 1 if machine == "x86_64" else 2
    refuse = _op(RETURN, ERRNO | EPERM)
    allow = _op(RETURN, ALLOW)
    out = [_op(LOAD, ARCHITECTURE), _op(EQUAL, ARCHITECTURES[machine], 1, 0), _op(RETURN, KILL), _op(LOAD, NUMBER)]
    if machine == "x86_64":
        out += [_op(AT_LEAST, X32, 0, 1), refuse]
    for row in REFUSED:
        if row[column] is not None:
            out += [_op(EQUAL, row[column], 0, 1), refuse]
    out += [_op(EQUAL, clone3, 0, 1), _op(RETURN, ERRNO | ENOSYS)]  # the C library then asks with clone
    out += [_op(EQUAL, clone, 0, 4), _op(LOAD, FIRST_ARGUMENT), _op(ANY_BIT, CLONE_THREAD, 0, 1), allow, refuse]
    for call, own in ((kill, pid), (tgkill, pid), (prlimit, 0)):  # to itself alone
        out += [_op(EQUAL, call, 0, 4), _op(LOAD, FIRST_ARGUMENT), _op(EQUAL, own, 0, 1), allow, refuse]
    return b"".join([*out, allow])


def _op(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)


def install() -> None:
    """Filter this process from now on; it can not be taken off. Raises OSError."""
    code = program(platform.machine(), os.getpid())
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("@HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_SET_SECCOMP, 2, ctypes.create_string_buffer(head, len(head)))


def give_up(keep: set[int], limits: dict[str, int], private: bool) -> None:
    """Everything at once, in the child, before the code runs.

    Args:
        keep: file descriptors that stay open; 0, 1 and 2 belong in it.
        limits: `cpu_s`, `memory_mb`, `file_mb`.
        private: in namespaces of its own, where the limit on processes counts nobody else's.
    """
    os.setsid()
    close_all_but(keep)
    sizes = {
        resource.RLIMIT_CPU: limits["cpu_s"],
        resource.RLIMIT_AS: limits["memory_mb"] << 20,
        resource.RLIMIT_FSIZE: limits["file_mb"] << 20,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if private:
        sizes[resource.RLIMIT_NPROC] = 64
    for which, size in sizes.items():
        resource.setrlimit(which, (size, size))
    if private:
        _drop_capabilities()
    if filtered():
        install()


def close_all_but(keep: set[int]) -> None:
    at = 0
    for descriptor in [*sorted(keep), 1 << 16]:
        if at < descriptor:  # an empty range would be read as one without end
            os.closerange(at, descriptor)
        at = descriptor + 1


def _drop_capabilities() -> None:
    _prctl(PR_CAP_AMBIENT, 4)  # all of them
    head = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0), 8)
    if libc.capset(head, ctypes.create_string_buffer(24)):
        raise OSError(ctypes.get_errno(), "capset")


def die_with_parent() -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def hide() -> None:
    """No other process of this user can attach to this one."""
    _prctl(PR_SET_DUMPABLE, 0)


def _prctl(option: int, *values: object) -> None:
    given = [ctypes.c_ulong(v) if isinstance(v, int) else v for v in values]
    given += [ctypes.c_ulong(0)] * (4 - len(given))
    if libc.prctl(option, *given):
        raise OSError(ctypes.get_errno(), f"prctl({option})")
