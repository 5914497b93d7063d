"""Owns the database, the folders and the chance of a simulated Frigate; knows neither events nor recordings."""

from __future__ import annotations

import random
import sqlite3
import string
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from frigate_s3_mirror.demo.layout import Layout

_ID_LETTERS = string.ascii_lowercase + string.digits


class SimulatedStore:
    """`config/frigate.db` and `media/frigate` of one version under one folder.

    Methods may be called from any thread.
    """

    def __init__(
        self,
        root: Path,
        layout: Layout,
        cameras: Sequence[str],
        seed: int,
        *,
        media_path: str | None,
        clock: Callable[[], float],
    ) -> None:
        self.layout = layout
        self.cameras = tuple(cameras)
        self.db_path = root / "config" / "frigate.db"
        self._media_dir = root / "media" / "frigate"
        self._media_path = media_path or str(self._media_dir)
        self._clock = clock
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        self._make_folders()
        self._connection = self._open_database()

    @property
    def clips_dir(self) -> Path:
        """Where pictures are."""
        return self._media_dir / "clips"

    @property
    def recordings_dir(self) -> Path:
        """Where segments of recordings are."""
        return self._media_dir / "recordings"

    def now(self) -> float:
        """The time by this Frigate's clock."""
        return self._clock()

    def close(self) -> None:
        """Close the database, as a clean stop of Frigate does: SQLite then removes the WAL."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_folders(self) -> None:
        self.db_path.parent.mkdir(parents=True, exist_ok=True)
        self.recordings_dir.mkdir(parents=True, exist_ok=True)
        for name in ("cache", "review"):
            (self.clips_dir / name).mkdir(parents=True, exist_ok=True)
        if self.layout.thumbnails_in_files:
            for camera in self.cameras:
                (self.clips_dir / "thumbs" / camera).mkdir(parents=True, exist_ok=True)

    def _open_database(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.db_path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(self.layout.schema)
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _id_letters(self) -> str:
        """What follows the time in every id of Frigate's."""
        with self._lock:
            return "".join(self._random.choices(_ID_LETTERS, k=6))

    def _path_inside(self, path: Path) -> str:
        """A path below the media folder as Frigate in its container names it."""
        return f"{self._media_path}/{path.relative_to(self._media_dir).as_posix()}"
