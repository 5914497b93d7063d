"""Starts child processes that do not outlive us; knows nothing of what they do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Becomes the command by exec after asking the kernel for a SIGTERM when the parent dies, which also happens
# where no cleanup runs (SIGKILL, a lost terminal). Without Linux's prctl it is a plain exec.
_LAUNCHER = """
import os, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, 15)
except (ImportError, AttributeError, OSError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


def start_child(command: Sequence[str], environment: Mapping[str, str], log_path: Path) -> subprocess.Popen[bytes]:
    """Start `command` (an absolute path and its arguments) with its output appended to `log_path`.

    The child leads a process group of its own: Ctrl-C in the terminal reaches only us. On Linux it gets
    SIGTERM when the *thread* that started it ends, so start it from one that stays.
    """
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
    with log_path.open("ab") as log:
        return subprocess.Popen(
            [*launcher, *command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )


def stop_child(process: subprocess.Popen[bytes], timeout_seconds: float) -> int | None:
    """End a child by SIGTERM and return its exit code; None if it had to be killed. May be called twice."""
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)  # a test may have suspended it
    try:
        return process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def last_lines(log_path: Path, count: int = 20) -> list[str]:
    """The end of a child's log, for messages that say what went wrong."""
    if not log_path.exists():
        return []
    return log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]


def free_port() -> int:
    """A port of loopback that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
