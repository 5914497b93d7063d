"""When the sure eye looks: in full at the start, after gaps and every hour; else at what is recent, every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from frigate_s3_mirror import inotify_eye
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.discovery import Discovery
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.events import FrigateError
from frigate_s3_mirror.expected_files import FACT
from frigate_s3_mirror.exports import Exports
from frigate_s3_mirror.folders import Folder
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger_thread import LedgerThread
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.scan import Proof
from frigate_s3_mirror.second_look import GIVEN_UP, PAGE, SecondLook
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import Files

FULL_SCAN_SECONDS = 3600.0
FORGET_AFTER = 7 * 86400.0
"""Seconds after its event that an entry is kept for certain; later it goes once Frigate has no such event."""
_FORGET_SECONDS = 86400.0
_SEARCH_PAGE = 1000
_SEARCH_SECONDS = 2.0
"""For which one look searches on for files that were given up: over Frigate's API each of them is a request."""
_TRUST_SECONDS, _REMEMBER_SECONDS = 60.0, 600.0
"""How often the folders are looked at, and how often it is written down that they are as they were."""


class Remote(Protocol):
    """Where the rows of FRIGATE_SOURCE=api come from; see api_loop.ApiLoop."""

    problem: str | None
    """Why Frigate cannot be asked now, as a sentence."""
    is_whole: bool
    """The copy of its table names all events; until it does, none of them counts as forgotten."""


@dataclass(slots=True)
class _Search:
    """How far a search for files that were given up has come."""

    look: SecondLook
    states: list[State] = field(default_factory=lambda: list(GIVEN_UP))
    after: Entry | None = None

    @property
    def state(self) -> State:
        return self.states[0]

    def go_on(self) -> bool:
        """Turn to the next state; whether there is one."""
        self.states, self.after = self.states[1:], None
        return bool(self.states)


class ScanLoop:
    """Owns the scan's thread and its timetable."""

    def __init__(
        self, settings: Settings, discovery: Discovery, calls: LedgerThread, exports: Exports, clock: Clock,
        *, folders: Sequence[Folder], recordings: Files, remote: Remote | None = None,
    ) -> None:  # fmt: skip
        """`folders` are all of Frigate's from which files are sent, `recordings` what is in one of them."""
        self._settings, self._discovery, self._clock = settings, discovery, clock
        self._folders, self._recordings = folders, recordings
        self._remote = remote
        self._calls, self._ledger, self._exports = calls, calls.ledger, exports
        self._pool = ThreadPoolExecutor(1, "scan")
        self._gap = asyncio.Event()
        self._is_ready = False
        self._next_full = self._next_forget = self._next_trust = 0.0
        self._search: _Search | None = None

    @property
    def is_ready(self) -> bool:
        """Whether all of Frigate's table has been compared once."""
        return self._is_ready

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown()

    async def in_thread(self, function: Callable[..., Any], *arguments: object) -> Any:
        """The result of something slow, run in the scan's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def prove(self, since: float) -> Proof:
        """See FrigateScan.proof."""
        return await self.in_thread(self._discovery.scan.proof, since)  # type: ignore[no-any-return]

    async def watch(self) -> None:
        """The fast eye, for ever; what it may have missed becomes a full scan."""
        await inotify_eye.watch(self._settings.clips_dir, self._discovery.file_closed, self.look_in_full)

    def look_in_full(self) -> None:
        """Something may have been missed: the next look is a full one."""
        self._gap.set()

    async def regularly(self, afterwards: Callable[[], Awaitable[None]]) -> None:
        """Look for ever; `afterwards` is called after each look."""
        while True:
            try:
                await self._look(self._clock.monotonic())
                await afterwards()
            except Exception:  # noqa: BLE001  # outermost frame of the loop: told, and the next round tries again
                logger().exception("S3 snapshot mirror: the scan failed; trying again")
            await asyncio.sleep(self._settings.scan_interval)

    async def everything(self) -> None:
        """One full look."""
        await self._look_at_folders()
        await self._discovery.scan_all(self.in_thread)
        if self._discovery.problem is None:
            await self._search_again()
            self._search = self._new_search()
            await self._search_on(float("inf"))
        await self._look_at_folders()

    async def files_settle(self) -> bool:
        """Whether a file of an unfinished event is too fresh to be sent, or was found fit just now."""
        before = set(self._discovery.watched)
        await self._discovery.scan_recent(self.in_thread)
        if not before <= self._discovery.watched:
            return True  # recorded, perhaps, after the backlog was looked at
        try:
            events = self._discovery.database.events(before & self._discovery.watched)
            return any(await self._discovery.pictures.look(events, Kind.SNAPSHOT))
        except FrigateError as error:
            self._discovery.note_problem(error)
            return False

    async def _look(self, now: float) -> None:
        discovery = self._discovery
        if self._remote is not None and self._remote.problem is not None:
            return  # a look at the copy would find no trouble
        if now >= self._next_trust or self._gap.is_set():
            self._next_trust = now + _TRUST_SECONDS
            await self._look_at_folders()
        if await asyncio.to_thread(self._folders_are_others):
            self.look_in_full()
            await self._calls.release()
        opened = await discovery.scan_recent(self.in_thread)
        if self._gap.is_set() or opened or now >= self._next_full:
            self._gap.clear()
            self._next_full = now + FULL_SCAN_SECONDS
            found = await discovery.scan_all(self.in_thread)
            await self._search_again()
            self._search = self._new_search()
            if not self._is_ready or found:
                logger().info("S3 snapshot mirror %s new=%d", "scanned" if self._is_ready else "is ready", found)
            self._is_ready = self._is_ready or discovery.problem is None
        else:
            await self._search_again()
        await self._search_on(_SEARCH_SECONDS)
        if now >= self._next_forget and discovery.problem is None and (self._remote is None or self._remote.is_whole):
            self._next_forget = now + _FORGET_SECONDS
            await self._forget()

    async def _search_again(self) -> None:
        """Look for awaited files that are due; give up in time."""
        due: list[Entry] = await self._calls.call(
            self._ledger.due, State.AWAITED, self._clock.now(), _SEARCH_PAGE
        )  # fmt: skip
        missing = await self._discovery.search_again(due) if due else []
        outcomes = [
            Outcome(entry, State.AWAITED if at else State.ABSENT, 0, entry.deferrals + 1, at or 0.0, "no file was ever there")
            for entry, at in missing
        ]  # fmt: skip
        if outcomes:
            await self._calls.settle(outcomes)

    def _new_search(self) -> _Search:
        """Begin anew, with a look at the folder as it is now; over the API one that is under way comes to its end."""
        discovery = self._discovery
        if self._search is not None and self._remote is not None:
            return self._search
        return _Search(SecondLook(discovery.pictures, self._recordings))

    async def _search_on(self, seconds: float) -> None:
        """Go on with the search for files that were given up, for so long; the next look goes on after it."""
        until = self._clock.monotonic() + seconds
        while (search := self._search) is not None and self._clock.monotonic() < until:
            page: list[Entry] = await self._calls.call(self._ledger.entries_in, search.state, search.after, PAGE)
            if page:
                search.after = page[-1]
            elif not search.go_on():
                self._search = None
            try:
                back = await self.in_thread(lambda page, look: [e for e in page if look.finds(e)], page, search.look)
                found = await self._discovery.take_back(back)
            except FrigateError as error:
                self._discovery.note_problem(error)
                self._search = None
                return
            if found:
                logger().info("S3 snapshot mirror: %d files that were missing are there again and are sent", found)

    async def _look_at_folders(self) -> None:
        """See whether they hold what they ought to, and remember those that do beyond the end of this process."""
        trusted: dict[str, list[float]] = {}
        for folder in self._folders:
            await asyncio.to_thread(folder.inspect)
            if folder.trusted is not None and folder.trouble is None:
                trusted[folder.name] = [*folder.trusted, self._clock.now()]
        if trusted:
            with contextlib.suppress(sqlite3.OperationalError):  # a full disk: told elsewhere
                await self._calls.call(self._remember, trusted)

    def _remember(self, trusted: dict[str, list[float]]) -> None:
        known = self._ledger.facts().get(FACT)
        known = known if isinstance(known, dict) else {}
        if any(_is_news(known.get(name), place) for name, place in trusted.items()):
            self._ledger.note(**{FACT: {**known, **trusted}})

    def _folders_are_others(self) -> bool:
        """Whether files that were missing may be there now: a folder is back, or another one is mounted in its place."""
        changed = [folder.has_changed() for folder in self._folders]
        for folder, is_another in zip(self._folders, changed, strict=True):
            if is_another:
                folder.inspect()
        back = [folder.is_back() for folder in self._folders]  # all of them are asked
        return any(back) or any(changed)

    async def _forget(self) -> None:
        """Forget settled entries a week after their event, when Frigate has forgotten it, too."""
        row: int | None = 0
        forgotten = 0
        while row is not None:
            before = self._clock.now() - FORGET_AFTER
            pairs, row = await self.in_thread(self._discovery.scan.forgettable, row, before)
            if pairs:
                await self._calls.call(self._ledger.forget, [pair[0] for pair in pairs])
                forgotten += len(pairs)
        if forgotten:
            await self._calls.call(self._exports.write)
            logger().info("S3 snapshot mirror: %d entries forgotten whose events are gone from Frigate", forgotten)


def _is_news(known: object, place: list[float]) -> bool:
    """Return whether a folder is another than the one that is remembered, or was last remembered long ago."""
    if not isinstance(known, list) or len(known) != len(place):
        return True
    return known[:-1] != place[:-1] or not isinstance(known[-1], float) or place[-1] - known[-1] >= _REMEMBER_SECONDS
