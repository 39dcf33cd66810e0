"""Lambda's limits on a function's process: its memory, the size of /tmp, and a read-only file system around it.

The kernel holds the last two through a mount namespace. A user may make one only if the kernel and its security modules
permit it; root needs CAP_SYS_ADMIN. Where it cannot be made, the function runs without it, and its log says so.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TMP = 512  # MiB, without EphemeralStorage
ACCOUNT = 1000  # concurrent executions: an account's quota. A new account may have 10.
WATCH_SECONDS = 0.05  # between two looks at the memory of a running invocation
UNLIMITED = "The local cloud limits neither /tmp nor the file system here"

# Runs first in the function's process, which has one thread then. Its arguments are the size of /tmp in MiB and the
# folders to keep, because what lies under /tmp vanishes behind the new /tmp.
ISOLATE = f"""
def isolate(size, kept):
    import ctypes, os
    libc = ctypes.CDLL(None, use_errno=True)

    def checked(result, what):
        if result:
            number = ctypes.get_errno()
            raise OSError(number, f"{{what}}: {{os.strerror(number)}}")

    def mount(source, target, kind, flags, data=None):
        checked(libc.mount(source, target, kind, ctypes.c_ulong(flags), data), f"mount {{target.decode()}}")

    NEWNS, NEWUSER, RDONLY, BIND, REC, PRIVATE = 0x20000, 0x10000000, 1, 4096, 16384, 1 << 18
    user, group = os.geteuid(), os.getegid()
    try:
        checked(libc.unshare(NEWNS | (NEWUSER if user else 0)), "unshare")
        if user:
            for file, line in (("setgroups", "deny"), ("uid_map", f"{{user}} {{user}} 1"), ("gid_map", f"{{group}} {{group}} 1")):
                with open(f"/proc/self/{{file}}", "w") as opened:
                    opened.write(line)
        mount(b"none", b"/", None, REC | PRIVATE)
        read_only = (ctypes.c_uint64 * 4)(RDONLY, 0, 0, 0)
        here, recursive, mount_setattr = -100, 0x8000, 442
        checked(
            libc.syscall(mount_setattr, here, b"/", recursive, read_only, ctypes.sizeof(read_only)), "mount_setattr"
        )
        inside = [path for path in kept if os.path.realpath(path).startswith("/tmp/")]
        opened = [(os.path.realpath(path), os.open(path, os.O_PATH)) for path in inside]
        cwd = os.getcwd()
        mount(b"tmpfs", b"/tmp", b"tmpfs", 0, f"size={{size}}m,mode=1777".encode())
        for path, number in opened:
            os.makedirs(path, exist_ok=True)
            mount(f"/proc/self/fd/{{number}}".encode(), path.encode(), None, BIND)
            os.close(number)
        os.chdir(cwd)
    except OSError as error:
        print(f"{UNLIMITED}: {{error}}", flush=True)
"""


def memory(pid: int) -> int:
    """Return the peak resident memory of a process and the memory of its children, in MiB. 0 except on Linux."""
    return (_kilobytes(pid, "VmHWM") + sum(_kilobytes(child, "VmRSS") for child in _children(pid))) // 1024


def _kilobytes(pid: int, name: str) -> int:
    with suppress(OSError):  # the process has ended
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0


def _children(pid: int) -> Iterable[int]:
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # it runs often, and is faster than a Path
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                yield int(child)
                yield from _children(int(child))


class Account:
    """The concurrent executions of an account. Lambda refuses an invocation beyond them."""

    def __init__(self, most: int = ACCOUNT) -> None:
        self._free = threading.BoundedSemaphore(most)

    def enter(self) -> bool:
        """Begin an execution if the account permits one more; return whether it does."""
        return self._free.acquire(blocking=False)

    def leave(self) -> None:
        self._free.release()


def kept(*folders: str | Path) -> list[str]:
    """Return what a function's process needs besides its own /tmp, as arguments of `isolate`."""
    return sorted({str(folder) for folder in (*folders, sys.base_prefix, os.path.realpath(sys.base_prefix))})
