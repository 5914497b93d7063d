"""The two eyes: inotify (or Frigate's API) tells of files the moment they are whole, the scan sees all that it missed.

Both judge an event alike and record it in the ledger; nothing else makes work. Neither keeps a cursor: what Frigate has
and the ledger has not is looked for, again and again. Each event is judged for itself: whatever is wrong with one, the
others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from frigate_s3_mirror import bodies
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import (
    Event,
    FrigateDatabase,
    FrigateError,
    RefusedRowError,
    Rows,
    event_of,
    parse_file_name,
)
from frigate_s3_mirror.folders import Folder
from frigate_s3_mirror.keys import key_for
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger_thread import LedgerThread
from frigate_s3_mirror.lifecycle import State, Verdict, after_search, judge
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.scan import FrigateScan, Refused
from frigate_s3_mirror.sent_files import (
    Change,
    Sent,
    file_of,
    is_of_another_event,
    is_settled,
    look_for_change,
    sent_of,
    sent_since,
)
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import Found, Pictures, SourceUnreachableError, candidates

RECENT_SECONDS = 600.0
"""How far back the periodic scan looks; older events that still run are watched by name, the rest by full scans."""
END_WAIT = 2.0
"""Seconds that a whole file waits for its event's end, so that the metadata is final."""
_FIRST_LOOK = 0.001  # a look costs some 20 microseconds; Frigate's row ends 4 to 30 ms after its file is closed
_EAGER_FOR = 0.05
_LONGEST_LOOK = 0.25
_MOST_TOLD = 10_000

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
    calls: LedgerThread
    watched: set[str] = field(default_factory=set)
    """Ids of events that run, or whose file may still be written."""
    unended: set[str] = field(default_factory=set)
    """Ids of events that were sent before their end, which their metadata document waits for."""
    problem: str | None = None
    """What is wrong with Frigate's database or files now, as a sentence; a full scan that meets no trouble clears it."""
    unforeseen: int = 0
    """How often judging an event ended in an error that nobody thought of."""
    _told: set[str] = field(default_factory=set)
    """Ids of events about which something was said that is not to be said again."""
    _to_requeue: set[int] = field(default_factory=set)
    """Rows of the ledger whose file is another one than was sent."""
    _uncompared: dict[int, Sent] = field(default_factory=dict)
    """What was sent, by its row, whose file was written again and could not be read since."""
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
        task = asyncio.create_task(self._guarded(self._follow(parts.event_id), parts.event_id))
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
                if (event is not None and (event.end_time is not None or event.is_manual)) or waited >= END_WAIT:
                    break
                await asyncio.sleep(look)
                if waited > _EAGER_FOR:
                    look = min(look * 1.5, _LONGEST_LOOK)
        except FrigateError:
            return  # the scan meets the same trouble, tells of it, and finds the event afterwards
        if event is None or await self._consider(Rows([event]), closed=True, urgent=True):
            return
        await self._compare_with_sent(event)  # it was known before

    def events_ended(self, event_ids: Sequence[str]) -> None:
        """Frigate's API told of these, whose files are whole, and their rows are in the copy: look at them at once."""
        if event_ids:
            task = asyncio.create_task(self._guarded(self._take_up(event_ids), event_ids[0]))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _take_up(self, event_ids: Sequence[str]) -> None:
        try:
            await self._consider(Rows(self.database.events(event_ids)), closed=True, urgent=True)
        except FrigateError as error:
            self.note_problem(error)  # a full scan follows

    async def _guarded(self, work: Awaitable[None], event_id: str) -> None:
        """The outermost frame of a task."""
        try:
            await work
        except Exception:  # noqa: BLE001  # told and counted; the scan looks at the event again
            self._note_unforeseen(event_id)

    # -- the sure eye ----------------------------------------------------------------------------------------------

    async def scan_recent(self, in_thread: InThread) -> bool:
        """Look at recent and watched events; returns whether a full scan is called for.

        That is so when the database was opened anew, and after trouble: what was to be looked at then was not.
        """
        try:
            opened = bool(await in_thread(self.scan.ensure_open))
            changed = await in_thread(self.scan.changed)
            now = self.clock.now()
            since = min(now, self._last_scan_at or now) - RECENT_SECONDS
            if changed or opened:
                await self._consider(await in_thread(self.scan.since, since))
            if self.watched or self.unended:
                await self._look_at_watched()
            self._last_scan_at = now
            await self._look_at_sent(since)
        except FrigateError as error:
            self.note_problem(error)
            return False
        return opened or self.problem is not None

    async def scan_all(self, in_thread: InThread) -> int:
        """Compare Frigate's whole table with the ledger, newest first, a page at a time; returns how many were new.

        What was refused before is judged anew.
        """
        before: float | None = float("inf")
        found, troubles, refused = 0, self._troubles, set[str]()
        try:
            await in_thread(self.scan.ensure_open)
            gone = await self._judge_refused_again(await in_thread(self.scan.refused))
            rows = await in_thread(self.scan.beside_pages)
            while True:
                found += await self._consider(rows)
                refused.update(refusal.stand_in.id for refusal in rows.refused)
                if before is None:
                    break
                rows, before = await in_thread(self.scan.page, before)
        except FrigateError as error:
            self.note_problem(error)
            return found
        await self._forget([entry for entry in gone if entry.event_id not in refused])
        self._last_scan_at = self.clock.now()
        if troubles == self._troubles:
            self._is_well()
        return found

    async def _judge_refused_again(self, refused: Sequence[Refused]) -> list[Refused]:
        """Forget refusals whose reason is over, so that the scan takes up their events.

        Returns those of which Frigate has no row under that id: it is gone, unless the scan meets it again.
        """
        over, gone = [], []
        for entry in refused:
            if entry.values is None:
                gone.append(entry)
            elif await self._reason_now(entry) != entry.reason:
                over.append(entry)
        await self._forget(over)
        return gone

    async def _reason_now(self, entry: Refused) -> str | None:
        try:
            event = event_of(entry.values or ())
        except RefusedRowError as refusal:
            return str(refusal)
        drafts = await self._entries_or_none(event, self.clock.now())
        return next(
            (draft.last_error for draft in drafts if draft.kind is entry.kind), None if drafts else entry.reason
        )

    async def _forget(self, refused: Sequence[Refused]) -> None:
        if refused:
            await self.calls.call(self.calls.ledger.forget, [entry.row for entry in refused])

    async def search_again(self, entries: Sequence[Entry]) -> list[tuple[Entry, float | None]]:
        """Look for the files of awaited entries again.

        Those that came are recorded. Returns the others with the time of the next look, None to give up.
        """
        still_missing: list[tuple[Entry, float | None]] = []
        came: list[Entry] = []
        for entry in entries:
            try:
                drafts = await self._drafts_of(entry)
            except FrigateError as error:  # nobody knows of this and the others: they stay due
                self.note_problem(error)
                break
            came += drafts
            if not drafts:
                step = after_search(entry.happened_at, entry.deferrals, self.clock.now())
                still_missing.append((entry, step.next_attempt_at if step.state is State.AWAITED else None))
        if came:
            await self.record(came, True)
        if still_missing and await asyncio.to_thread(self.folder.blame) is not None:
            return [(entry, self.clock.now() + 30.0) for entry, _ in still_missing]
        return still_missing

    async def take_back(self, entries: Sequence[Entry]) -> int:
        """Files of these absent or expired entries are there again: have them sent. Returns how many were taken up."""
        lost = [entry.row for entry in entries if entry.state is State.EXPIRED]
        if lost:
            await self.calls.call(self.calls.ledger.requeue, lost)
        came: list[Entry] = []
        for entry in entries:
            if entry.state is State.ABSENT:
                came += await self._drafts_of(entry)
        return len(lost) + (await self.record(came, False) if came else 0)

    async def _drafts_of(self, entry: Entry) -> list[Entry]:
        """What the entry becomes now that it is looked at again; nothing while its file is not there."""
        drafts = await self._entries_or_none(entry.event, self.clock.now())
        return [d for d in drafts if d.kind is entry.kind and d.state in {State.PENDING, State.SKIPPED}]

    async def _look_at_watched(self) -> None:
        events = self.database.events(self.watched | self.unended)
        there = {event.id for event in events}
        self.watched &= there
        self.unended &= there
        ended = {event.id for event in events if event.end_time is not None}
        await self._consider(Rows([event for event in events if event.id in self.watched | ended]))

    def note_problem(self, error: FrigateError) -> None:
        """Keep what is wrong, and tell it once."""
        if self.problem != str(error):
            logger().error("S3 snapshot mirror: %s Trying again.", error)
        self.problem = str(error)
        self._troubles += 1

    def _note_unforeseen(self, event_id: str) -> None:
        """Call in an `except`: the event is not recorded, so every scan looks at it again, but it is told once."""
        self.unforeseen += 1
        if self._is_news(event_id):
            logger().exception(
                "S3 snapshot mirror: event %s could not be judged; the others go on, and it is looked at again",
                event_id,
            )

    def _is_news(self, event_id: str) -> bool:
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        is_news = event_id not in self._told
        self._told.add(event_id)
        return is_news

    def _is_well(self) -> None:
        if self.problem is not None and self.settings.frigate_source == "api":
            logger().info("S3 snapshot mirror: Frigate's API answers again, it goes on")
        elif self.problem is not None:
            logger().info("Successfully reconnected to database %s", self.database.path)
        self.problem = None

    # -- judging ---------------------------------------------------------------------------------------------------

    async def _consider(self, rows: Rows, *, closed: bool = False, urgent: bool = False) -> int:
        """Judge events, each for itself, and record those that are due; returns how many were new."""
        now = self.clock.now()
        entries = [self._refusal(refusal, now) for refusal in rows.refused]
        try:
            judged = [(event, snapshot, judge(event, snapshot.modified_at if snapshot else None, now, closed=closed))
                      for event, snapshot in await self._with_snapshots(rows.events)]  # fmt: skip
            is_away = any(verdict is Verdict.AWAIT for _, _, verdict in judged) and (
                await asyncio.to_thread(self.folder.blame) is not None
            )
            for event, snapshot, verdict in judged:
                if verdict is Verdict.WATCH:
                    self.watched.add(event.id)
                    continue
                self.watched.discard(event.id)
                if verdict is Verdict.RECORD or (verdict is Verdict.AWAIT and not is_away):
                    entries += await self._entries_or_none(event, now, snapshot)
        finally:  # when Frigate stops answering in the middle, what was judged until then counts
            taken = await self.record(entries, urgent) if entries else 0
        return taken

    async def _with_snapshots(self, events: Sequence[Event]) -> list[tuple[Event, Found | None]]:
        try:
            return list(zip(events, await self.pictures.look(events, Kind.SNAPSHOT), strict=True))
        except FrigateError:
            raise
        except Exception:  # noqa: BLE001  # one of them: the others are looked at without it
            if len(events) == 1:
                self._note_unforeseen(events[0].id)
                return []
            half = len(events) // 2
            return [*await self._with_snapshots(events[:half]), *await self._with_snapshots(events[half:])]

    async def _entries_or_none(self, event: Event, now: float, snapshot: Found | None = None) -> list[Entry]:
        try:
            return await self._entries_of(event, now, snapshot)
        except FrigateError:
            raise
        except Exception:  # noqa: BLE001  # told and counted; the others go on
            self._note_unforeseen(event.id)
            return []

    async def _entries_of(self, event: Event, now: float, snapshot: Found | None = None) -> list[Entry]:
        """One entry for each wanted kind, pending where there is something to send, awaited where there is not yet.

        The metadata document waits for the event's end; nothing else does.
        """
        if snapshot is None:
            (snapshot,) = await self.pictures.look([event], Kind.SNAPSHOT)
        self.unended.discard(event.id)
        entries = []
        for kind in self.settings.picture_kinds:
            if kind is Kind.METADATA and event.end_time is None:
                self.unended.add(event.id)
                continue
            found = snapshot if kind is Kind.SNAPSHOT else await self._found(event, kind)
            if found is not None and found.is_link:
                entries.append(self._link_refusal(event, kind, found, now))
            else:
                source = found.source if found else self._source_in_row(event, kind)
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

    async def _found(self, event: Event, kind: Kind) -> Found | None:
        if not candidates(event, kind):
            return None
        (found,) = await self.pictures.look([event], kind)
        return found

    def _source_in_row(self, event: Event, kind: Kind) -> str | None:
        """What there is of this kind without a file."""
        if kind is Kind.METADATA:
            return bodies.ROW_METADATA
        if kind is Kind.THUMBNAIL:
            with contextlib.suppress(FrigateError):
                return bodies.ROW_THUMBNAIL if self.database.inline_thumbnail(event.id) else None
        return None

    def _refusal(self, refusal: RefusedRowError, now: float) -> Entry:
        """An entry that says why a row of Frigate's is not touched."""
        event = refusal.stand_in
        happened_at = event.start_time if 0 < event.start_time < now else now
        return Entry(
            0, event, Kind.SNAPSHOT, None, None, State.FAILED, happened_at, last_error=str(refusal)
        )  # fmt: skip

    def _link_refusal(self, event: Event, kind: Kind, found: Found, now: float) -> Entry:
        """An entry that says why a symbolic link is not followed: what it leads to need not be Frigate's."""
        error = (
            f"{found.source} is a symbolic link, and links are not followed: put the file itself there, "
            "or mount the folder that holds it as Frigate's clips folder."
        )
        happened_at = now if event.end_time is None else min(event.end_time, now)
        return Entry(0, event, kind, None, None, State.FAILED, happened_at, last_error=error)

    # -- what was sent before --------------------------------------------------------------------------------------

    async def _compare_with_sent(self, event: Event) -> None:
        """A file of an event that is known was written again: one look into the ledger tells whether it was sent."""
        sent: list[Sent] = await self.calls.call(lambda: sent_of(self.calls.ledger.connection, event.id))
        if any(is_of_another_event(entry, event) for entry in sent):
            await self._take_up_again(event, sent)
            return
        for entry in sent:
            await self._compare_file(entry)

    async def _compare_file(self, entry: Sent) -> None:
        """Send it again when its file is another one; what cannot be read now is compared again at the next scan."""
        try:
            change = look_for_change(entry, file_of(entry, self.pictures), self.pictures)
        except SourceUnreachableError:
            self._uncompared[entry.row] = entry
            return
        self._uncompared.pop(entry.row, None)
        if change:
            await self._send_again(entry, change)

    async def _look_at_sent(self, since: float) -> None:
        """What was sent lately is compared with its file, because its last closing may have come during the upload."""
        if self.pictures.path("") is None:
            return  # over Frigate's API each look would be a request
        await self._requeue()
        now = self.clock.now()
        sent: list[Sent] = await self.calls.call(lambda: sent_since(self.calls.ledger.connection, since))
        for entry in {entry.row: entry for entry in (*self._uncompared.values(), *sent)}.values():
            with contextlib.suppress(SourceUnreachableError):
                found = file_of(entry, self.pictures)
                if found is not None and not is_settled(found, now):
                    continue
            await self._compare_file(entry)

    async def _send_again(self, sent: Sent, change: Change) -> None:
        what = {
            Change.BACK: "its file is there again",
            Change.OTHER_PICTURE: "Frigate wrote its picture again after the upload",
        }[change]
        if change is Change.OTHER_PICTURE and self.settings.overwrite == "never":
            if self._is_news(f"{sent.event_id} {sent.kind}"):
                logger().warning(
                    "S3 snapshot mirror: event=%s %s; the bucket keeps the first one, S3_OVERWRITE=changed replaces it",
                    sent.event_id, what,
                )  # fmt: skip
            return
        logger().info("S3 snapshot mirror: event=%s %s; it is sent again", sent.event_id, what)
        self._to_requeue.add(sent.row)
        await self._requeue()

    async def _requeue(self) -> None:
        """Have what changed sent again; while the ledger cannot be written (a full disk, told by health) it is remembered."""
        if self._to_requeue:
            with contextlib.suppress(sqlite3.OperationalError):
                await self.calls.call(self.calls.ledger.requeue, sorted(self._to_requeue))
                self._to_requeue.clear()

    async def _take_up_again(self, event: Event, sent: Sequence[Sent]) -> None:
        """The id stands for another event now, with keys of its own; what was sent under the old ones stays there."""
        logger().warning(
            "S3 snapshot mirror: Frigate uses the id of event=%s again for another event; both are kept", event.id
        )
        await self.calls.call(self.calls.ledger.forget, [entry.row for entry in sent])
        await self._consider(Rows([event]), closed=True, urgent=True)
