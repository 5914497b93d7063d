"""Log lines in Frigate's own format on stdout, so that `docker logs frigate` reads as one program.

A call formats its line and hands it to a bounded queue (see runtime.line_queue); a thread writes. So a reader that
stopped (a full pipe) costs lines, which are counted, and never the event loop.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from frigate_s3_mirror.runtime.line_queue import LineQueue
from frigate_s3_mirror.runtime.untrusted import single_line

NAME = "frigate_s3_mirror"
FIELDS = "fields"
"""Name under which a call's `extra` may bring fields for the JSON form."""
FLUSH_SECONDS = 1.5
"""For which an end waits until the last lines are out; a supervisor kills two seconds after the grace."""
_STUCK_SECONDS = 5.0
_LOOK_SECONDS = 1.0  # between two tries of a pipe that does not block


class _Formatter(logging.Formatter):
    """Frigate's line format, made as cheaply as can be: the lines of a first copy come by the thousand."""

    _second, _stamp = -1, ""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with a traceback below it where there is one. Nothing that was logged can begin a line of its own."""
        second = int(record.created)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        line = f"[{self._stamp}] {record.name:30} {record.levelname:8}: {single_line(record.getMessage())}"
        return f"{line}\n{exception_text(record.exc_info)}" if record.exc_info else line


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601), level, message, and what the line is about as fields of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.fromtimestamp(record.created, UTC).astimezone()
        content = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            content["exception"] = exception_text(record.exc_info)
        line = json.dumps(content, ensure_ascii=False)
        # JSON itself escapes what is below the blank; C1 controls and line separators steer terminals, too.
        return line if line.isprintable() else json.dumps(content)


def exception_text(info: Any) -> str:
    """Return the traceback as usual, but with every message in one line and nothing in it that steers a terminal."""
    if not isinstance(info, tuple) or info[0] is None:
        return ""
    shown = traceback.TracebackException(*info)
    parts, seen = [shown], {id(shown)}
    for part in parts:
        if isinstance(said := getattr(part, "_str", None), str):
            setattr(part, "_str", single_line(said))  # noqa: B010  # a name of its own, which typeshed does not know
        for other in (part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                parts.append(other)
    return "\n".join(single_line(line) for line in "".join(shown.format()).rstrip("\n").split("\n"))


class QueuedHandler(logging.Handler):
    """Hands formatted lines to the queue that writes to stdout."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = LineQueue(_write_to_stdout, self._gap)

    def emit(self, record: logging.LogRecord) -> None:
        """Take the line; returns at once, whoever reads or does not."""
        try:
            self.queue.put(self.format(record))
        except Exception:  # noqa: BLE001  # as the standard library's handlers do
            self.handleError(record)

    def flush(self) -> None:
        """Wait a bounded time until all is out; the standard library calls this at the interpreter's end, too."""
        self.queue.flush(FLUSH_SECONDS)

    def _gap(self, count: int) -> str:
        sentence = f"S3 snapshot mirror: {count} log lines are missing here, nobody read them; all else went on"
        return self.format(logging.LogRecord(NAME, logging.WARNING, "", 0, sentence, None, None))


def _write_to_stdout(text: str) -> None:
    """Write all of it, to what stdout is now: above a progress bar, say.

    Past the buffer of sys.stdout, whose lock nobody could take from a thread that hangs in it.
    """
    stream: TextIO | None = sys.stdout
    original = sys.__stdout__
    if stream is None:
        return
    if original is None or stream is not original:
        stream.write(text)
        stream.flush()
        return
    data = memoryview(text.encode(original.encoding or "utf-8", "backslashreplace"))
    descriptor = original.fileno()
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [], _LOOK_SECONDS)


def set_up(level: str, *, as_json: bool = False) -> None:
    """Send this package's log lines from `level` on to stdout, and no other package's."""
    handler = QueuedHandler()
    handler.setFormatter(_JsonFormatter() if as_json else _Formatter())
    logger = logging.getLogger(NAME)
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    # Facts about thread, process and caller are in no line of ours; leaving them out halves the cost of each one, see
    # https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None


def logger() -> logging.Logger:
    """The one logger of the package."""
    return logging.getLogger(NAME)


def flush() -> bool:
    """Wait a bounded time until all lines are out; return whether they are. Call it before an end without atexit."""
    return all(queue.flush(FLUSH_SECONDS) for queue in _queues())


def dropped_lines() -> int:
    """Return how many lines nobody will ever read, since the start."""
    return sum(queue.dropped for queue in _queues())


def is_stuck() -> bool:
    """Return whether the log's reader has not taken a line for some seconds."""
    return any(queue.stuck_for() > _STUCK_SECONDS for queue in _queues())


def _queues() -> list[LineQueue]:
    return [handler.queue for handler in logger().handlers if isinstance(handler, QueuedHandler)]
