"""The stand-in's FrigateApp: children, an event processor, a blocking web server, a stop that may end the process."""

from __future__ import annotations

import http.server
import multiprocessing
import os
import signal
import sys
import time

from .config import VARIANTS, Config
from .log import say

if "raises-on-import" in VARIANTS:
    raise RuntimeError("frigate.app is broken")


def camera() -> None:
    """A child process: lives until it is terminated, like a camera's capture."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    patched = any(type(finder).__module__ == "frigate_s3_patcher" for finder in sys.meta_path)
    say(f"camera: pid={os.getpid()} finder={patched}")
    while True:
        signal.pause()


class Page(http.server.BaseHTTPRequestHandler):
    """Answers every GET."""

    def do_GET(self) -> None:
        """Say that Frigate runs."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"frigate")

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


class FrigateApp:
    """The app as it is from 0.12 to 0.18."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cameras: list[multiprocessing.process.BaseProcess] = []

    def start_cameras(self) -> None:
        """Make children in the way of this version."""
        # A SIGTERM that reaches a forked child before it has a handler of its own would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        for number in range(2):
            process = multiprocessing.Process(target=camera, name=f"camera{number}", daemon=True)
            process.start()
            self.cameras.append(process)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

    def start(self) -> None:
        """Start everything and block in the web server, as `uvicorn.run` does."""
        say(f"frigate: starting pid={os.getpid()}")
        self.start_cameras()
        self.process_events()
        if "late-fork" in VARIANTS:
            self.start_cameras()
        if "sigterm-while-starting" in VARIANTS:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        server = http.server.HTTPServer(("127.0.0.1", 0), Page)
        try:
            say(f"frigate: ready port={server.server_port}")  # whoever reads this may send a SIGTERM at once
            server.serve_forever(poll_interval=0.05)
        except KeyboardInterrupt:
            pass
        finally:
            if "no-stop" not in VARIANTS:
                self.stop()
            else:
                self.end_cameras()

    def process_events(self) -> None:
        """Start the event processor and say what that returned."""
        start = getattr(self, "start_event_processor", None)
        say(f"frigate: event processor {start() if start else 'otherwise'}")

    def start_event_processor(self) -> str:
        """What the patch wraps."""
        if "start-raises" in VARIANTS:
            raise RuntimeError("the event processor is broken")
        return "started"

    def end_cameras(self) -> None:
        """End the children."""
        for process in self.cameras:
            process.terminate()
            process.join()

    def stop(self) -> str:
        """End the children; 0.14 to 0.16 then end the process here."""
        say("frigate: stopping")
        self.end_cameras()
        if "slow-stop" in VARIANTS:
            time.sleep(0.5)
        if "stop-raises" in VARIANTS:
            raise RuntimeError("stop failed")
        say("frigate: stopped")
        if "exit-in-stop" in VARIANTS:
            os._exit(3)
        return "stopped"


if "unknown" in VARIANTS:
    del FrigateApp.start_event_processor
