"""Watches the clips folder for closed files; where inotify is missing or blind, the scan carries the job alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from frigate_s3_mirror.logs import logger

if TYPE_CHECKING:
    from asyncinotify import Event, Inotify

_RETRY_SECONDS = 5.0
_BREATH_SECONDS = 0.2
_LOOK_SECONDS = 2.0
"""How often it is made sure that the watched folder is the one under its path: a mount over it tells nobody."""


async def watch(clips_dir: Path, on_closed: Callable[[str], None], on_gap: Callable[[], None]) -> None:
    """Tell of each file that is closed after writing (or moved in), for ever.

    `on_gap` is called when closings may have been missed: at each start of watching and after a queue overflow.
    """
    if sys.platform != "linux":
        logger().info("S3 snapshot mirror: no inotify on this system, new snapshots are found by scanning")
        return
    told = False
    while True:
        try:
            await _watch_once(clips_dir, on_closed, on_gap)
            told = False
        except OSError as error:
            if not told:
                logger().warning(
                    "S3 snapshot mirror: cannot watch %s (%s); new snapshots are found by scanning until it works",
                    clips_dir,
                    error.strerror,
                )
            told = True
            await asyncio.sleep(_RETRY_SECONDS)


async def _watch_once(clips_dir: Path, on_closed: Callable[[str], None], on_gap: Callable[[], None]) -> None:
    """Watch until the folder goes away (removed, unmounted), or another one lies under its path."""
    from asyncinotify import Inotify, Mask

    with Inotify() as inotify:
        inotify.add_watch(
            clips_dir, Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ONLYDIR
        )
        identity = _identity(clips_dir)
        on_gap()
        while (event := await _next(inotify, lambda: _identity(clips_dir) == identity)) is not None:
            if event.mask & Mask.Q_OVERFLOW:
                logger().warning("S3 snapshot mirror: inotify lost events; scanning")
                on_gap()
            elif event.mask & (Mask.IGNORED | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT):
                break
            elif event.name is not None:
                on_closed(str(event.name))
    await asyncio.sleep(_BREATH_SECONDS)


async def _next(inotify: Inotify, is_right: Callable[[], bool]) -> Event | None:
    """Return the next event, None once the watched folder is not the right one any more. Never drops an event."""
    coming = asyncio.ensure_future(inotify.get())
    try:
        while is_right():
            done, _ = await asyncio.wait({coming}, timeout=_LOOK_SECONDS)
            if done:
                return coming.result()
        return None
    finally:
        coming.cancel()


def _identity(clips_dir: Path) -> tuple[int, int] | None:
    try:
        status = clips_dir.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
