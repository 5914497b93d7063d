"""Tiny real videos, as Frigate's segments are: H.264 in mp4 with the index in front."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.demo.simulated_recordings import SimulatedSegment

SECONDS = 2


@cache
def video(tone: str, seconds: int = SECONDS) -> bytes:
    """A video of one colour; skips the test where there is no ffmpeg."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg on this machine (Debian's package ffmpeg)")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "segment.mp4"
        picture = ["-f", "lavfi", "-i", f"color={tone}:size=320x180:rate=10:duration={seconds}"]
        coding = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-movflags", "+faststart"]
        subprocess.run(["ffmpeg", "-v", "error", *picture, *coding, str(path)], check=True, timeout=60)
        return path.read_bytes()


def recorded(
    frigate: SimulatedFrigate, event: SimulatedEvent, tones: Sequence[str] = ("red", "green", "blue"), first: int = 0
) -> list[SimulatedSegment]:
    """Segments of the event, one after the other from its beginning on; `first` is the number of the first."""
    return [
        frigate.add_segment(event.camera, int(event.start_time) + SECONDS * n, SECONDS, content=video(tone))
        for n, tone in enumerate(tones, first)
    ]
