"""Log lines in Frigate's own format on stdout, so that `docker logs frigate` reads as one program."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import TextIO

NAME = "frigate_s3_mirror"
FIELDS = "fields"
"""Name under which a call's `extra` may bring fields for the JSON form."""


class _Formatter(logging.Formatter):
    """Frigate's line format, made as cheaply as can be: the lines of a first copy come by the thousand."""

    _second, _stamp = -1, ""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with a traceback below it where there is one."""
        second = int(record.created)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        line = f"[{self._stamp}] {record.name:30} {record.levelname:8}: {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


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
            content["exception"] = self.formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=False)


class _StdoutHandler(logging.StreamHandler[TextIO]):
    """Writes to what stdout is now, so that lines appear above a progress bar."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Where lines go."""
        return sys.stdout


def set_up(level: str, *, as_json: bool = False) -> None:
    """Send this package's log lines from `level` on to stdout, and no other package's."""
    stream = _StdoutHandler()
    stream.setFormatter(_JsonFormatter() if as_json else _Formatter())
    logger = logging.getLogger(NAME)
    logger.handlers[:] = [stream]
    logger.setLevel(level.upper())
    logger.propagate = False
    # Facts about thread, process and caller are in no line of ours; leaving them out halves the cost of each one, see
    # https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None


def logger() -> logging.Logger:
    """The one logger of the package."""
    return logging.getLogger(NAME)
