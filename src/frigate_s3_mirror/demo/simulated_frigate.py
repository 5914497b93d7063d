"""A Frigate without cameras: owns a real event database and clips folder, changed in Frigate's order.

Everything is synchronous, and with a fixed seed and clock the result is the same every time. What happens
when is told by the caller (a test, or `scenario`); this module knows nothing of the mirror.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from frigate_s3_mirror.demo import pictures
from frigate_s3_mirror.demo.layout import SnapshotFile, layout_for
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_recordings import SimulatedRecordings

CAMERAS = ("front_door", "back-yard", "garage")
API_PRE_CAPTURE_SECONDS = 5.0  # an API event starts this long before its id's time, in every version
LEFTOVER_SECONDS = 30.0  # what Frigate adds to the start of an event that a crash left open
_CLEAN_COPY_PAUSE = (0.008, 0.012)
_END_ROW_PAUSE = (0.010, 0.020)
_API_ROW_PAUSE = (0.050, 0.075)
_END_ROW_AGE = (0.2, 1.1)  # the end row is seen this long after the end_time that it bears
_BULK_TRANSACTION = 20_000

_INSERT = """
INSERT INTO event (id, label, camera, start_time, end_time, zones, thumbnail, has_clip, has_snapshot,
                   retain_indefinitely, sub_label, ratio, data)
VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, 0, ?, 1.0, ?)
"""
_SET_END = "UPDATE event SET end_time = ? WHERE id = ?"
_DELETE = "DELETE FROM event WHERE id = ?"
_Row: TypeAlias = tuple[str, str, str, float, float | None, str, str | None, int, str | None, str]
Steps: TypeAlias = Generator[float, None, SimulatedEvent]
"""Something that takes time: yields the seconds until its next step, returns the event as it is then."""


class SimulatedFrigate(SimulatedRecordings):
    """A Frigate of one version under one folder: `config/frigate.db` and `media/frigate`.

    Methods may be called from any thread; a pause between two files does not hold up the others. `media_path` is the
    media folder as rows name it, "/media/frigate" in the image; the default is where it really is.
    """

    def __init__(
        self,
        root: Path,
        version: str = "0.17",
        cameras: Sequence[str] = CAMERAS,
        seed: int = 1,
        *,
        clean_copy: bool = True,
        media_path: str | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(root, layout_for(version), cameras, seed, media_path=media_path, clock=clock)
        self.clean_copy = clean_copy
        self._sleep = sleep
        self._events: dict[str, SimulatedEvent] = {}

    @property
    def events(self) -> list[SimulatedEvent]:
        """Every event that was made and not deleted, oldest first; not rows of `bulk(files=False)`."""
        with self._lock:
            return list(self._events.values())

    def current(self, event: SimulatedEvent) -> SimulatedEvent:
        """The same event as it is now."""
        return self._events[event.id]

    def begin_event(
        self,
        camera: str | None = None,
        label: str = "person",
        sub_label: str | None = None,
        *,
        start_time: float | None = None,
        has_snapshot: bool = True,
    ) -> SimulatedEvent:
        """A tracked object appears: a row with `end_time` NULL, and no file yet."""
        ahead = self.layout.pre_capture_seconds
        id_time = self._clock() if start_time is None else start_time + ahead
        event = self._new_event(camera, label, sub_label, id_time, id_time - ahead, has_snapshot=has_snapshot)
        return self._insert(event, is_manual=False)

    def write_files(
        self, event: SimulatedEvent, content: bytes | None = None, *, stall_seconds: float = 0.0
    ) -> SimulatedEvent:
        """Write the event's snapshot, its clean copy 10 ms later, and its thumbnail.

        Args:
            event: the event; one without snapshot gets its thumbnail only.
            content: the bytes of every snapshot file, instead of a picture.
            stall_seconds: how long each file stays half written (in place, as Frigate does it).
        """
        return self._play(self._writing(event, content, stall_seconds))

    def complete_row(self, event: SimulatedEvent, end_time: float | None = None) -> SimulatedEvent:
        """Set the row's `end_time`, by default to what this version would write now."""
        if end_time is None:
            end_time = self._clock() - self._between(_END_ROW_AGE) + self.layout.end_ahead_seconds
        end_time = max(round(end_time, 6), event.start_time)
        with self._transaction() as connection:
            connection.execute(_SET_END, (end_time, event.id))
        return self._keep(replace(event, end_time=end_time, row_complete_at=self._clock()))

    def end_event(self, event: SimulatedEvent, delay: float | None = None) -> SimulatedEvent:
        """A tracked object is gone: its files, then, 10 to 20 ms (or `delay`) later, the row's `end_time`."""
        return self._play(self.end_steps(event, delay))

    def end_steps(self, event: SimulatedEvent, delay: float | None = None) -> Steps:
        """What `end_event` does, for callers that do something else in the pauses."""
        event = yield from self._writing(event, None, 0.0)
        yield self._between(_END_ROW_PAUSE) if delay is None else delay
        return self.complete_row(event)

    def manual_event(
        self,
        duration: float | None = None,
        camera: str | None = None,
        label: str = "doorbell press",
        sub_label: str | None = None,
    ) -> SimulatedEvent:
        """An API event: its file at once, its row 50 to 75 ms later.

        Its `end_time` lies in the future; without a `duration` it is NULL until `end_manual_event`.
        """
        return self._play(self.manual_steps(duration, camera, label, sub_label))

    def manual_steps(
        self,
        duration: float | None = None,
        camera: str | None = None,
        label: str = "doorbell press",
        sub_label: str | None = None,
    ) -> Steps:
        """What `manual_event` does, for callers that do something else in the pauses."""
        id_time = self._clock()
        start_time = id_time - API_PRE_CAPTURE_SECONDS
        event = self._new_event(camera, label, sub_label, id_time, start_time, has_snapshot=True)
        event = yield from self._writing(event, None, 0.0)
        yield self._between(_API_ROW_PAUSE)
        end_time = None if duration is None else round(id_time + duration, 6)
        return self._insert(replace(event, end_time=end_time), is_manual=True)

    def end_manual_event(self, event: SimulatedEvent) -> SimulatedEvent:
        """An endless API event ends: only its row changes."""
        return self.complete_row(event, self._clock())

    def killed_event(self, camera: str | None = None, label: str = "person") -> SimulatedEvent:
        """What a crash leaves behind: `has_snapshot` = 1, `end_time` = start + 30, and never a file."""
        start_time = self._clock() - LEFTOVER_SECONDS - self._random.uniform(5, 30)
        event = self.begin_event(camera, label, start_time=start_time)
        return self.complete_row(event, event.start_time + LEFTOVER_SECONDS)

    def no_snapshot_event(self, camera: str | None = None, label: str = "cat") -> SimulatedEvent:
        """An event that ended and whose object was not worth a snapshot."""
        return self.end_event(self.begin_event(camera, label, has_snapshot=False), delay=0.0)

    def delete_event(self, event: SimulatedEvent) -> None:
        """A user or the retention deletes an event: its row and all its files."""
        with self._transaction() as connection:
            connection.execute(_DELETE, (event.id,))
        for path in (*self._snapshot_paths(event), self._thumbnail_path(event)):
            path.unlink(missing_ok=True)
        with self._lock:
            self._events.pop(event.id, None)

    def bulk(
        self, count: int, size_bytes: int = 80_000, days: float = 1.0, *, files: bool = True
    ) -> list[SimulatedEvent]:
        """Make `count` ended events, spread over the last `days`, each with one snapshot of `size_bytes`.

        Every file's content differs. With `files=False` only rows are made: fast and lean enough for a
        million, and for that reason not remembered; the list is then empty.
        """
        made: list[SimulatedEvent] = []
        noise = self._random.randbytes(size_bytes)
        for first in range(0, count, _BULK_TRANSACTION):
            numbers = range(first, min(first + _BULK_TRANSACTION, count))
            batch = [self._ended_event(number, count, days, with_path=files) for number in numbers]
            if files:
                for event in batch:
                    _write_noise(event, noise)
            with self._transaction() as connection:
                connection.executemany(_INSERT, (self._row(event, None, is_manual=False) for event in batch))
            if files:
                now = self._clock()
                made += [self._keep(replace(event, row_complete_at=now)) for event in batch]
        return made

    def _ended_event(self, number: int, count: int, days: float, *, with_path: bool) -> SimulatedEvent:
        start_time = self._clock() - 120.0 - days * 86_400 * (count - 1 - number) / count
        camera = self.cameras[number % len(self.cameras)]
        event = self._new_event(camera, "person", None, start_time, start_time, has_snapshot=True)
        end_time = round(event.start_time + self._random.uniform(1, 90), 6)
        path = self._snapshot_paths(event)[0] if with_path else None
        return replace(event, end_time=end_time, snapshot_path=path)

    def _play(self, steps: Steps) -> SimulatedEvent:
        while True:
            try:
                self._sleep(next(steps))
            except StopIteration as end:
                event: SimulatedEvent = end.value
                return event

    def _new_event(
        self,
        camera: str | None,
        label: str,
        sub_label: str | None,
        id_time: float,
        start_time: float,
        *,
        has_snapshot: bool,
    ) -> SimulatedEvent:
        with self._lock:
            camera = camera or self._random.choice(self.cameras)
            letters = self._id_letters()
        event_id = f"{round(id_time, 6)}-{letters}"
        return SimulatedEvent(event_id, camera, label, sub_label, round(start_time, 6), None, has_snapshot)

    def _insert(self, event: SimulatedEvent, *, is_manual: bool) -> SimulatedEvent:
        row = self._row(event, _taken_at(event), is_manual=is_manual)
        with self._transaction() as connection:
            connection.execute(_INSERT, row)
        complete_at = None if event.end_time is None else self._clock()
        return self._keep(replace(event, row_complete_at=complete_at))

    def _row(self, event: SimulatedEvent, taken_at: datetime | None, *, is_manual: bool) -> _Row:
        """The values of `_INSERT`; without `taken_at` an inline thumbnail is blank: big tables stay lean."""
        thumbnail: str | None = None
        if not self.layout.thumbnails_in_files:
            thumbnail = "" if taken_at is None else _inline_thumbnail(event, taken_at)
        return (
            event.id,
            event.label,
            event.camera,
            event.start_time,
            event.end_time,
            "[]" if is_manual else '["yard"]',
            thumbnail,
            int(event.has_snapshot),
            event.sub_label,
            self._details(is_manual=is_manual),
        )

    def _details(self, *, is_manual: bool) -> str:
        if is_manual:
            return json.dumps({"type": "api", "score": 70, "top_score": 70})
        score = round(self._random.uniform(0.6, 0.98), 4)
        return json.dumps(
            {
                "box": [0.4015625, 0.375, 0.0921875, 0.4111111111111111],
                "region": [0.1625, 0.1111111111111111, 0.5, 0.8888888888888888],
                "score": score,
                "top_score": score,
                "attributes": [],
                "type": "object",
            }
        )

    def _writing(self, event: SimulatedEvent, content: bytes | None, stall_seconds: float) -> Steps:
        taken_at = _taken_at(event)
        first: Path | None = None
        for file in self._files() if event.has_snapshot else ():
            if first is not None:
                yield self._between(_CLEAN_COPY_PAUSE)
            path = self.clips_dir / file.name(event.camera, event.id)
            picture = content or pictures.picture(
                event.camera, event.label, taken_at, file.ending, annotated=file.annotated
            )
            yield from _write_in_place(path, picture, stall_seconds)
            first = first or path
        if self.layout.thumbnails_in_files:
            thumbnail = pictures.thumbnail(event.camera, event.label, taken_at, "webp")
            self._thumbnail_path(event).write_bytes(thumbnail)
        return self._keep(replace(event, snapshot_path=first))

    def _files(self) -> tuple[SnapshotFile, ...]:
        clean = self.layout.clean_copy if self.clean_copy else None
        return (self.layout.snapshot,) if clean is None else (self.layout.snapshot, clean)

    def _snapshot_paths(self, event: SimulatedEvent) -> list[Path]:
        return [self.clips_dir / file.name(event.camera, event.id) for file in self._files()]

    def _thumbnail_path(self, event: SimulatedEvent) -> Path:
        return self.clips_dir / "thumbs" / event.camera / f"{event.id}.webp"

    def _keep(self, event: SimulatedEvent) -> SimulatedEvent:
        with self._lock:
            self._events[event.id] = event
        return event

    def _between(self, bounds: tuple[float, float]) -> float:
        return self._random.uniform(*bounds)


def _taken_at(event: SimulatedEvent) -> datetime:
    return datetime.fromtimestamp(event.start_time, UTC).astimezone()


def _inline_thumbnail(event: SimulatedEvent, taken_at: datetime) -> str:
    return base64.b64encode(pictures.thumbnail(event.camera, event.label, taken_at, "jpg")).decode()


def _write_in_place(path: Path, content: bytes, stall_seconds: float) -> Generator[float, None, None]:
    """Create, write, close: Frigate never renames a finished file into place."""
    with path.open("wb") as file:
        if stall_seconds:
            file.write(content[: len(content) // 2])
            file.flush()
            yield stall_seconds
            file.write(content[len(content) // 2 :])
        else:
            file.write(content)


def _write_noise(event: SimulatedEvent, noise: bytes) -> None:
    """A file as big as `noise` that begins and ends like a JPEG and bears the event's id: no two are equal."""
    if event.snapshot_path is not None:
        start, end = b"\xff\xd8\xff\xe0" + event.id.encode(), b"\xff\xd9"
        event.snapshot_path.write_bytes((start + noise[len(start) :])[: max(0, len(noise) - len(end))] + end)
