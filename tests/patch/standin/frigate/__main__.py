"""`python -u -m frigate`: signal handlers and the way of making processes as the real ones have them, then the app."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import types

from .app import FrigateApp
from .config import VARIANTS, Config
from .log import say


def on_sigterm(_signal: int, _frame: types.FrameType | None) -> None:
    """The handler of 0.16 to 0.18; the one of 0.14 sends a SIGINT instead."""
    if "sigint" in VARIANTS:
        os.kill(os.getpid(), signal.SIGINT)
    else:
        sys.exit()


def main() -> None:
    """Run the app until it ends."""
    faulthandler.enable()
    if "deaf" not in VARIANTS:
        signal.signal(signal.SIGTERM, on_sigterm)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    FrigateApp(Config()).start()
    say("frigate: returned")


if __name__ == "__main__":
    multiprocessing.set_start_method("forkserver" if "forkserver" in VARIANTS else "fork", force=True)
    main()
