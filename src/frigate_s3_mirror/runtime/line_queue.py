"""A bounded queue of text lines with a thread that writes them: whoever does not read them holds up nobody.

It knows nothing of logging. What does not fit is dropped and counted; once the reader takes lines again it is told, in
the place where they are missing, how many.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

MOST_CHARACTERS = 2_000_000
"""Held while nobody reads: some fifteen thousand lines. The writer may hold as much again in its hands."""
_LOOK = 0.001  # seconds between two looks of `flush`

Write = Callable[[str], None]
"""Writes text and returns when it is out, however long that takes. Raises OSError or ValueError when it cannot."""


@dataclass(frozen=True, slots=True)
class _Batch:
    text: str
    lines: int
    gaps: int
    """Dropped lines of which the text tells."""


class LineQueue:
    """Takes lines from any thread without ever waiting, and keeps their order.

    `describe_gap` makes the line that stands for so many dropped ones.
    """

    def __init__(self, write: Write, describe_gap: Callable[[int], str], most: int = MOST_CHARACTERS) -> None:
        self._write, self._describe_gap, self._most = write, describe_gap, most
        self.dropped = 0
        """Lines that nobody will ever read, since the start."""
        self._untold = self._gaps = self._gap_lines = 0
        """Dropped lines of which no line tells yet; those of which lines in the queue tell; and how many such lines."""
        self._lines: list[str] = []
        self._size = 0
        self._lock = threading.Lock()
        self._wake = threading.Semaphore(0)
        self._is_idle = True
        self._is_failing = False
        """The last write raised: until one succeeds there is nobody to tell of a gap."""
        self._busy_since: float | None = None
        self._thread: threading.Thread | None = None

    def put(self, line: str) -> None:
        """Take one line (without its end), or drop and count it when the queue is full."""
        with self._lock:
            if self._size + len(line) > self._most and self._lines:
                self.dropped += 1
                self._untold += 1
                return
            if self._untold:
                self._append_gap()
            self._lines.append(line)
            self._size += len(line)
            was_idle, self._is_idle = self._is_idle, False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
        if was_idle:
            self._wake.release()

    def stuck_for(self) -> float:
        """Seconds for which the writer has been waiting for a reader; 0.0 while lines go out."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def flush(self, seconds: float) -> bool:
        """Wait until all lines taken so far are out, at most so long; return whether they are."""
        deadline = time.monotonic() + seconds
        while not self._is_idle:
            if time.monotonic() >= deadline or self._thread is None or not self._thread.is_alive():
                return False
            time.sleep(_LOOK)
        return True

    def _append_gap(self) -> None:
        gap = self._describe_gap(self._untold)
        self._gaps, self._gap_lines, self._untold = self._gaps + self._untold, self._gap_lines + 1, 0
        self._lines.append(gap)
        self._size += len(gap)

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            while batch := self._take():
                self._busy_since = time.monotonic()
                try:
                    self._write(batch.text)
                    self._is_failing = False
                except Exception:  # noqa: BLE001  # nobody reads any more, or the file's disk is full: nowhere to tell it
                    self._is_failing = True
                    with self._lock:
                        self.dropped += batch.lines
                        self._untold += batch.lines + batch.gaps
                finally:
                    self._busy_since = None

    def _take(self) -> _Batch | None:
        """All that waits."""
        with self._lock:
            if not self._lines and self._untold and not self._is_failing:
                self._append_gap()
            self._is_idle = not self._lines
            if self._is_idle:
                return None
            lines, self._lines, self._size = self._lines, [], 0
            count, gaps = len(lines) - self._gap_lines, self._gaps
            self._gaps = self._gap_lines = 0
        return _Batch("".join(f"{line}\n" for line in lines), count, gaps)
