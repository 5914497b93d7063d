"""The sign of life: what the service says of itself in the file whose lock it holds, for other processes to read.

It is written in place, a block of fixed size, so that it gets through on a full disk where the ledger does not; and its
first line is plain enough for a shell: the word of health, and when (unix seconds).
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

EVERY_SECONDS = 60.0
"""The service writes at least this often, and at each change."""
OLDEST_SECONDS = 180.0
"""What is older says nothing about now. deploy/healthcheck.sh knows this number, too."""
_BLOCK = 2048
_LONGEST_REASON = 400


@dataclass(frozen=True, slots=True)
class SignOfLife:
    """Health as of `at`; times are unix seconds."""

    health: str
    reason: str
    health_since: float
    at: float
    must_act: bool = False
    all_wait: bool = False
    """S3 takes nothing now, so all that is pending waits for it."""

    def is_fresh(self, now: float) -> bool:
        """Return whether it still counts; one from the future was written before the clock was set back."""
        return abs(now - self.at) <= OLDEST_SECONDS


def write(descriptor: int, sign: SignOfLife) -> None:
    """Write it over the one before. Raises OSError."""
    content = {**asdict(sign), "reason": sign.reason[:_LONGEST_REASON]}
    text = f"{sign.health} {sign.at:.0f}\n{json.dumps(content)}\n"
    os.pwrite(descriptor, text.encode().ljust(_BLOCK), 0)


def make_room(descriptor: int) -> None:
    """Take the block on the disk while there is room, and erase what a service before this one said."""
    with contextlib.suppress(OSError):
        os.pwrite(descriptor, b" " * _BLOCK, 0)


def read(path: Path) -> SignOfLife | None:
    """Return the last one, None where there is none that can be read."""
    for _ in range(3):  # a look may fall into the middle of a write
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, IndexError):
            return _parse(json.loads(path.read_bytes()[: 4 * _BLOCK].split(b"\n")[1]))
    return None


def _parse(content: dict[str, Any]) -> SignOfLife:
    return SignOfLife(
        str(content["health"]),
        str(content["reason"]),
        float(content["health_since"]),
        float(content["at"]),
        bool(content["must_act"]),
        bool(content["all_wait"]),
    )
