"""A stand-in for the mirror's service: says who it is in a file, and lives or dies as STANDIN_SERVICE tells it.

Each life adds a line of JSON to the file that STANDIN_RECORD names, and another one when it ends in an orderly way.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

MODE = os.environ.get("STANDIN_SERVICE", "run")


def record(**facts: object) -> int:
    """Add facts to the record; returns how many lines it now has."""
    with Path(os.environ["STANDIN_RECORD"]).open("a+", encoding="utf-8") as file:
        file.write(json.dumps({"pid": os.getpid(), **facts}) + "\n")
        file.flush()
        file.seek(0)
        return len(file.readlines())


def say(text: str) -> None:
    """A line in Frigate's format."""
    print(f"[2026-11-23 17:38:49] frigate_s3_mirror              INFO    : {text}", flush=True)


def live() -> None:
    """Until SIGTERM, or the end of stdin, or of the parent."""
    wake_read, wake_write = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(wake_write, b"t"))
    say("service is ready")
    while True:
        ready, _, _ = select.select([0, wake_read], [], [], 0.1)
        if wake_read in ready and MODE != "deaf":
            say("service stops")
            record(ended="SIGTERM")
            return
        if 0 in ready and not os.read(0, 100):
            record(ended="end of stdin")
            return
        if os.environ.get("STANDIN_WATCH_PARENT") and os.getppid() != int(os.environ["S3_MIRROR_PARENT_PID"]):
            record(ended="another parent")
            return


def live_on_for_a_second() -> None:
    """As an upload in flight does after SIGTERM."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    say("service is ready")
    while not asked:
        time.sleep(0.01)
    time.sleep(1)
    record(ended="late")
    sys.exit()


def main() -> None:
    """One life."""
    lives = record(
        argv=sys.argv[1:], ppid=os.getppid(), path=sys.path, cwd=str(Path.cwd()), environment=dict(os.environ)
    )
    if MODE == "settings":
        say("S3_REGION is wrong")
        sys.exit(78)
    if MODE == "crash" or (MODE == "crash-once" and lives == 1):
        raise RuntimeError("service is broken")
    if MODE == "import":
        import a_package_that_is_missing  # type: ignore[import-not-found]  # noqa: F401
    if MODE == "slow-end":
        live_on_for_a_second()
    live()


main()
