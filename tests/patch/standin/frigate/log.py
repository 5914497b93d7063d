"""The stand-in's log lines, each in one write, so that those of several processes do not mix."""

from __future__ import annotations

import os


def say(line: str) -> None:
    """Write a line to stdout."""
    os.write(1, f"{line}\n".encode())
