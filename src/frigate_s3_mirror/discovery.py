"""The two eyes: inotify (or Frigate's API) tells of files the moment they are whole, the scan sees all that it missed.

Both judge an event alike and record it in the ledger; nothing else makes work. Neither keeps a cursor: what Frigate has
and the ledger has not is looked for, again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from frigate_s3_mirror import bodies
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import Event, FrigateDatabase, FrigateError, parse_file_name
from frigate_s3_mirror.folders import Folder
from frigate_s3_mirror.keys import key_for
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.lifecycle import State, Verdict, after_search, judge
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.scan import FrigateScan
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import Found, Pictures

RECENT_SECONDS = 600.0
"""How far back the periodic scan looks; older events that still run are watched by name, the rest by full scans."""
END_WAIT = 2.0
"""Seconds that a whole file waits for its event's end, so that the metadata is final."""
_FIRST_LOOK = 0.001  # a look costs some 20 microseconds; Frigate's row ends 4 to 30 ms after its file is closed
_EAGER_FOR = 0.05
_LONGEST_LOOK = 0.25

Record = Callable[[Sequence[Entry], bool], Awaitable[int]]
"""Takes entries into the ledger (and to the uploader; urgently or not); returns how many were new."""
InThread = Callable[..., Awaitable[Any]]


@dataclass(slots=True)
class Discovery:
    """Finds work; owns the list of events that it watches until they end."""

    settings: Settings
    database: FrigateDatabase
    scan: FrigateScan
    record: Record
    pictures: Pictures
    folder: Folder
    clock: Clock
    watched: set[str] = field(default_factory=set)
    """Ids of events that run, or whose file may still be written."""
    problem: str | None = None
    """What is wrong with Frigate's database or files now, as a sentence; a full scan that meets no trouble clears it."""
    _looking: set[asyncio.Task[None]] = field(default_factory=set)
    _closing: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _last_scan_at: float = 0.0
    _troubles: int = 0

    # -- the fast eye ----------------------------------------------------------------------------------------------

    def file_closed(self, name: str) -> None:
        """A file in the clips folder was closed after writing: look at its event, once for all of its files."""
        parts = parse_file_name(name)
        if parts is None or parts.event_id in self._closing:
            return
        task = asyncio.create_task(self._follow(parts.event_id))
        self._closing[parts.event_id] = task
        task.add_done_callback(lambda _: self._closing.pop(parts.event_id, None))

    async def _follow(self, event_id: str) -> None:
        """Wait a little for the row's end, then record the event with what is known by then."""
        started = self.clock.monotonic()
        look = _FIRST_LOOK
        event = None
        try:
            while True:
                event = self.database.event(event_id)
                waited = self.clock.monotonic() - started
                if (event is not None and event.end_time is not None) or waited >= END_WAIT:
                    break
                await asyncio.sleep(look)
                if waited > _EAGER_FOR:
                    look = min(look * 1.5, _LONGEST_LOOK)
        except FrigateError:
            return  # the scan meets the same trouble, tells of it, and finds the event afterwards
        if event is not None:
            await self._consider([event], closed=True, urgent=True)

    def events_ended(self, event_ids: Sequence[str]) -> None:
        """Frigate's API told of these, whose files are whole, and their rows are in the copy: look at them at once."""
        if event_ids:
            task = asyncio.create_task(self._take_up(event_ids))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _take_up(self, event_ids: Sequence[str]) -> None:
        try:
            await self._consider(self.database.events(event_ids), closed=True, urgent=True)
        except FrigateError as error:
            self.note_problem(error)  # a full scan follows

    # -- the sure eye ----------------------------------------------------------------------------------------------

    async def scan_recent(self, in_thread: InThread) -> bool:
        """Look at recent and watched events; returns whether a full scan is called for.

        That is so when the database was opened anew, and after trouble: what was to be looked at then was not.
        """
        try:
            opened = bool(await in_thread(self.scan.ensure_open))
            changed = await in_thread(self.scan.changed)
            now = self.clock.now()
            if changed or opened:
                since = min(now, self._last_scan_at or now) - RECENT_SECONDS
                await self._consider(await in_thread(self.scan.since, since))
            if self.watched:
                await self._look_at_watched()
            self._last_scan_at = now
        except FrigateError as error:
            self.note_problem(error)
            return False
        return opened or self.problem is not None

    async def scan_all(self, in_thread: InThread) -> int:
        """Compare Frigate's whole table with the ledger, newest first, a page at a time; returns how many were new."""
        before: float | None = float("inf")
        found, troubles = 0, self._troubles
        try:
            await in_thread(self.scan.ensure_open)
            while before is not None:
                page, before = await in_thread(self.scan.page, before)
                found += await self._consider(page)
        except FrigateError as error:
            self.note_problem(error)
            return found
        self._last_scan_at = self.clock.now()
        if troubles == self._troubles:
            self._is_well()
        return found

    async def search_again(self, entries: Sequence[Entry]) -> list[tuple[Entry, float | None]]:
        """Look for the files of awaited (or absent) entries again.

        Those that came are recorded. Returns the others with the time of the next look, None to give up.
        """
        still_missing: list[tuple[Entry, float | None]] = []
        came: list[Entry] = []
        for entry in entries:
            try:
                drafts = [d for d in await self._entries_of(entry.event, self.clock.now()) if d.kind is entry.kind]
            except FrigateError as error:  # nobody knows of this and the others: they stay due
                self.note_problem(error)
                break
            came += [draft for draft in drafts if draft.state in {State.PENDING, State.SKIPPED}]
            if not any(draft.state in {State.PENDING, State.SKIPPED} for draft in drafts):
                step = after_search(entry.happened_at, entry.deferrals, self.clock.now())
                still_missing.append((entry, step.next_attempt_at if step.state is State.AWAITED else None))
        if came:
            await self.record(came, True)
        if still_missing and await asyncio.to_thread(self.folder.blame) is not None:
            return [(entry, self.clock.now() + 30.0) for entry, _ in still_missing]
        return still_missing

    async def _look_at_watched(self) -> None:
        events = self.database.events(self.watched)
        self.watched.intersection_update(event.id for event in events)
        await self._consider(events)

    def note_problem(self, error: FrigateError) -> None:
        """Keep what is wrong, and tell it once."""
        if self.problem != str(error):
            logger().error("S3 snapshot mirror: %s Trying again.", error)
        self.problem = str(error)
        self._troubles += 1

    def _is_well(self) -> None:
        if self.problem is not None and self.settings.frigate_source == "api":
            logger().info("S3 snapshot mirror: Frigate's API answers again, it goes on")
        elif self.problem is not None:
            logger().info("Successfully reconnected to database %s", self.database.path)
        self.problem = None

    # -- judging ---------------------------------------------------------------------------------------------------

    async def _consider(self, events: Sequence[Event], *, closed: bool = False, urgent: bool = False) -> int:
        """Judge events and record those that are due."""
        now = self.clock.now()
        entries = [self._refusal(event) for event in events if not event.is_named_safely]
        safe = [event for event in events if event.is_named_safely]
        for event, snapshot in zip(safe, await self.pictures.look(safe, Kind.SNAPSHOT), strict=True):
            verdict = judge(event, snapshot.modified_at if snapshot else None, now, closed=closed)
            if verdict is Verdict.WATCH:
                self.watched.add(event.id)
                continue
            self.watched.discard(event.id)
            if verdict is Verdict.AWAIT and await asyncio.to_thread(self.folder.blame) is not None:
                continue  # an unmounted folder says nothing about its files
            if verdict is not Verdict.IGNORE:
                entries += await self._entries_of(event, now, snapshot)
        return await self.record(entries, urgent) if entries else 0

    async def _entries_of(self, event: Event, now: float, snapshot: Found | None = None) -> list[Entry]:
        """One entry for each wanted kind, pending where there is something to send, awaited where there is not yet."""
        if snapshot is None:
            (snapshot,) = await self.pictures.look([event], Kind.SNAPSHOT)
        entries = []
        for kind in self.settings.picture_kinds:
            source = snapshot.source if kind is Kind.SNAPSHOT and snapshot else await self._source_of(event, kind)
            entries.append(self._entry(event, kind, source, snapshot, now))
        return entries

    def _entry(self, event: Event, kind: Kind, source: str | None, snapshot: Found | None, now: float) -> Entry:
        happened_at = (
            min(event.end_time, now) if event.end_time is not None else (snapshot.modified_at if snapshot else now)
        )
        state, error = State.PENDING, None
        if source is None:
            step = after_search(happened_at, 0, now)
            return Entry(0, event, kind, None, None, step.state, happened_at, next_attempt_at=step.next_attempt_at)
        if kind is Kind.CLEAN and snapshot is not None and source == snapshot.source:
            state, error = State.SKIPPED, "the clean copy is the snapshot itself"
        ending = {bodies.ROW_METADATA: "json", bodies.ROW_THUMBNAIL: "jpg"}.get(source) or source.rsplit(".", 1)[1]
        key = key_for(event, kind, ending, self.settings)
        return Entry(0, event, kind, source, key, state, happened_at, last_error=error)

    async def _source_of(self, event: Event, kind: Kind) -> str | None:
        """Where this kind is found; a snapshot was looked for already."""
        if kind is Kind.SNAPSHOT:
            return None
        if kind is Kind.METADATA:
            return bodies.ROW_METADATA
        (found,) = await self.pictures.look([event], kind)
        if found is not None:
            return found.source
        if kind is Kind.THUMBNAIL:
            with contextlib.suppress(FrigateError):
                return bodies.ROW_THUMBNAIL if self.database.inline_thumbnail(event.id) else None
        return None

    def _refusal(self, event: Event) -> Entry:
        """An entry that says why an event whose names could lead out of the folder is not touched."""
        error = f"Its camera '{event.camera}' or id '{event.id}' is no name of Frigate's; refused."
        happened_at = event.end_time or event.start_time
        return Entry(0, event, Kind.SNAPSHOT, None, None, State.FAILED, happened_at, last_error=error)
