"""Log lines in Frigate's own format on stdout, so that `docker logs frigate` reads as one program."""

from __future__ import annotations

import logging
import sys

NAME = "frigate_s3_mirror"


def set_up(level: str) -> None:
    """Send this package's log lines from `level` on to stdout, and no other package's."""
    stream = logging.StreamHandler(sys.stdout)
    stream.setFormatter(
        logging.Formatter("[%(asctime)s] %(name)-30s %(levelname)-8s: %(message)s", "%Y-%m-%d %H:%M:%S")
    )
    logger = logging.getLogger(NAME)
    logger.handlers[:] = [stream]
    logger.setLevel(level.upper())
    logger.propagate = False
    # Facts about thread, process and caller are in no line of ours; leaving them out halves the cost of each one.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def logger() -> logging.Logger:
    """The one logger of the package."""
    return logging.getLogger(NAME)
