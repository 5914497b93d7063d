"""Log lines in Frigate's own format on stdout, so that `docker logs frigate` reads as one program."""

from __future__ import annotations

import logging
import sys
import time

NAME = "frigate_s3_mirror"


class _Formatter(logging.Formatter):
    """Formats each second once: the lines of a backlog come by the hundred."""

    _second, _text = -1, ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802  # logging's name
        second = int(record.created)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return self._text


def set_up(level: str) -> None:
    """Send this package's log lines from `level` on to stdout, and no other package's."""
    stream = logging.StreamHandler(sys.stdout)
    stream.setFormatter(_Formatter("[%(asctime)s] %(name)-30s %(levelname)-8s: %(message)s"))
    logger = logging.getLogger(NAME)
    logger.handlers[:] = [stream]
    logger.setLevel(level.upper())
    logger.propagate = False
    # Facts about thread, process and caller are in no line of ours; leaving them out halves the cost of each one.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def logger() -> logging.Logger:
    """The one logger of the package."""
    return logging.getLogger(NAME)
