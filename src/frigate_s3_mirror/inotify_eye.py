"""Watches the clips folder for closed files; where inotify is missing or blind, the scan carries the job alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from frigate_s3_mirror.logs import logger

_RETRY_SECONDS = 30.0


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
    """Watch until the folder goes away (removed, unmounted)."""
    from asyncinotify import Inotify, Mask

    with Inotify() as inotify:
        inotify.add_watch(
            clips_dir, Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ONLYDIR
        )
        on_gap()
        async for event in inotify:
            if event.mask & Mask.Q_OVERFLOW:
                logger().warning("S3 snapshot mirror: inotify lost events; scanning")
                on_gap()
            elif event.mask & (Mask.IGNORED | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT):
                return
            elif event.name is not None:
                on_closed(str(event.name))
