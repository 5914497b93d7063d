"""The fast eye watches the folder that is under its path, whatever was there before."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path

import pytest

from frigate_s3_mirror.inotify_eye import watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no inotify on this system")


async def until(names: list[str], name: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while name not in names:
        assert time.monotonic() < deadline, names
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["a mount that tells nobody", "a rename"])
def test_another_folder_under_the_path_is_watched_soon(how: str, tmp_path: Path) -> None:
    """A mount over the folder makes no event; a link that is turned shows the same without the right to mount."""
    first, second, clips = tmp_path / "first", tmp_path / "second", tmp_path / "clips"
    first.mkdir()
    second.mkdir()

    async def scenario() -> None:
        closed: list[str] = []
        gaps: list[str] = []
        if how == "a rename":
            first.rename(clips)
        else:
            clips.symlink_to(first)
        eye = asyncio.create_task(watch(clips, closed.append, lambda: gaps.append(f"gap {len(gaps) + 1}")))
        await until(gaps, "gap 1")
        (clips / "one.jpg").write_bytes(b"1")
        await until(closed, "one.jpg")
        if how == "a rename":
            clips.rename(tmp_path / "aside")
            second.rename(clips)
        else:
            (tmp_path / "turned").symlink_to(second)
            (tmp_path / "turned").rename(clips)
        await until(gaps, "gap 2")  # what was missed is looked for
        (clips / "two.jpg").write_bytes(b"2")
        await until(closed, "two.jpg")
        eye.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await eye

    asyncio.run(scenario())


def test_no_closing_is_dropped(tmp_path: Path) -> None:
    """Many at once, across the moments at which the folder is looked at."""

    async def scenario() -> None:
        closed: list[str] = []
        gaps: list[str] = []
        eye = asyncio.create_task(watch(tmp_path, closed.append, lambda: gaps.append("gap")))
        await until(gaps, "gap")
        for number in range(500):
            (tmp_path / f"{number}.jpg").write_bytes(b"x")
            if number % 50 == 0:
                await asyncio.sleep(0.01)
        await until(closed, "499.jpg")
        assert closed == [f"{number}.jpg" for number in range(500)]
        eye.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await eye

    asyncio.run(scenario())
