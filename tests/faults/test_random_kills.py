"""kill -9 at random moments while events stream: nothing is lost, nothing is damaged, next to nothing is sent again."""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path

from conftest import MakeMirror, WatchedTarget
from frigate_s3_mirror.demo.progress import expected_key
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from oracles import PREFIX, conserved, size


def test_killed_at_random_moments(rclone_proxy: WatchedTarget, tmp_path: Path, mirror_for: MakeMirror) -> None:
    """The server is one that cannot create conditionally: every repetition is a PUT that it stores again."""
    kills, chance = size(50, 1000), random.Random(7)  # noqa: S311  # the same moments in every run
    events: list[SimulatedEvent] = []
    stop = threading.Event()
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("front-door", "yard")) as frigate:

        def stream() -> None:
            while not stop.wait(0.04):
                events.append(frigate.end_event(frigate.begin_event(), delay=0.01))

        mirror = mirror_for(frigate, rclone_proxy)
        thread = threading.Thread(target=stream)
        thread.start()
        try:
            for _ in range(kills):
                process = mirror.start()
                time.sleep(0.3 + 0.7 * chance.random())  # it takes some 0.4 s until it works
                mirror.stop(process, signal.SIGKILL)
        finally:
            stop.set()
            thread.join()
        done = mirror.command("run", "--once")
        assert done.returncode == 0, done.stdout
        stored = rclone_proxy.stored()
        again = sum(stored[expected_key(event, PREFIX)] - 1 for event in events)
        print(f"\n{kills} kills, {len(events)} events, {again} PUTs too many ({again / len(events):.2%})")
        assert again <= max(1, len(events) * 0.01)
        conserved(rclone_proxy, events)
