"""A program that the system ends when it turns to a network: no library, in whichever language, can get around it."""

from __future__ import annotations

import ctypes
import platform
import signal
import struct
import subprocess
import sys

import pytest

from metier.tests.patience import PATIENCE

CALLS = {"x86_64": (41, 42), "aarch64": (198, 203)}
"""The numbers of the system calls `socket` and `connect` on Linux."""

KILLED = -signal.SIGSYS

_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
"""Instructions of a filter: load a word of the call's data, AND, jump if equal, end."""
_NUMBER, _FAMILY, _KIND = 0, 16, 24
"""Where in that data the call's number and its first two arguments are."""
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_INET, _INET6, _STREAM, _NEVER = 2, 10, 1, 0xFFFF


def run_offline(
    code: str, *words: str, connections: bool = False, timeout: float = 4 * PATIENCE
) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process that is killed (`KILLED`) when it looks up a name or opens a connection.

    Names are asked for in datagrams: it may have no internet socket for anything but streams, which some libraries
    open and close at import to see what there is.

    Args:
        connections: Let it connect, to a server of its own on this machine say. It still has no names.
    """
    if sys.platform != "linux" or platform.machine() not in CALLS:
        pytest.skip("NOT TESTED: needs seccomp, on Linux for x86-64 or ARM")
    begin = f"from metier.tests.offline import forbid; forbid({connections})\n"
    command = [sys.executable, "-c", begin + code, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def forbid(connections: bool) -> None:
    """From here on this process may not look up names nor, without `connections`, connect; see `run_offline`."""
    socket, connect = CALLS[platform.machine()]
    steps = [
        (_LOAD, 0, 0, _NUMBER),
        (_EQUAL, 8, 0, _NEVER if connections else connect),  # kill
        (_EQUAL, 0, 6, socket),  # else allow
        (_LOAD, 0, 0, _FAMILY),
        (_EQUAL, 1, 0, _INET),
        (_EQUAL, 0, 3, _INET6),  # else allow
        (_LOAD, 0, 0, _KIND),
        (_AND, 0, 0, 0xF),
        (_EQUAL, 0, 1, _STREAM),  # else kill
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _KILL),
    ]
    rules = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(rules))
    system = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, filtered = 38, 22
    if system.prctl(no_new_privileges, 1, 0, 0, 0) or system.prctl(filtered, 2, program, 0, 0):
        raise OSError(ctypes.get_errno(), "this system has no seccomp")
