"""Sends the picture of an event while it runs: a burglar who pulls the plug leaves at least this.

An onlooker with threads and connections of its own, so that it can neither delay nor endanger the final snapshot. What
cannot be sent is not kept: the next picture of the event is better.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from frigate_s3_mirror.broker_errors import News
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.entries import Outcome
from frigate_s3_mirror.events import Event, Filters, FrigateDatabase, FrigateError
from frigate_s3_mirror.frigate_access import access
from frigate_s3_mirror.frigate_api import ApiError
from frigate_s3_mirror.health import Condition
from frigate_s3_mirror.keys import CONTENT_TYPES, live_key_for, object_metadata
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger_file import LedgerError
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.live_ledger import FORGET_AFTER, LiveLedger
from frigate_s3_mirror.live_plan import LivePlan, Watched
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.policies import tags
from frigate_s3_mirror.s3 import ObjectStore, Upload
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import SourceRefusedError, SourceUnreachableError, SourceVanishedError
from frigate_s3_mirror.units import format_duration, format_size

LOOK_SECONDS = 1.0
"""How often Frigate's table is asked what runs; well under a millisecond each time."""
_AT_ONCE = 3
_LONGEST_EVENT = 86_400.0  # seconds; a car that is parked longer is no news
_CLEAN_SECONDS = 600.0


Tell = Callable[[str, str], object]
"""Takes a camera, and "sent" or "failed"."""


class PictureSource(Protocol):
    """Who has pictures of running events; see frigate_api.FrigateApi."""

    def picture(self, event_id: str) -> bytes | None:
        """The best picture so far, None when there is none. Raises ApiError."""


class LivePictures:
    """An onlooker (see observers.Observer)."""

    def __init__(
        self, settings: Settings, source: PictureSource, ledger: LiveLedger, clock: Clock, tell: Tell = lambda _camera, _result: None
    ) -> None:  # fmt: skip
        self._settings, self._source, self._ledger, self._clock, self._tell = settings, source, ledger, clock, tell
        self._store = ObjectStore(settings)
        frigate = access(settings)
        self._pictures = frigate.pictures
        self._database = FrigateDatabase(frigate.database, Filters(settings.cameras, settings.labels))
        self.plan = LivePlan(settings.live_interval)
        self._pool = ThreadPoolExecutor(_AT_ONCE, "live")
        self._scan = ThreadPoolExecutor(1, "live scan")
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_ended = False
        self._sending: set[asyncio.Task[None]] = set()
        self._told = {what: News() for what in ("api", "s3", "delete")}
        self._next_look = self._clean_at = 0.0

    # -- what it is told -------------------------------------------------------------------------------------------

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """The final snapshot is in the bucket: the event needs no more live pictures."""
        for outcome in outcomes:
            if outcome.entry.kind is Kind.SNAPSHOT and outcome.state is State.UPLOADED:
                self.plan.end(outcome.entry.event.id)
                self._clean_at = 0.0

    def health_changed(self, condition: Condition, since: float) -> None:
        """Nothing to do: each picture is tried for itself."""

    def proved(self) -> None:
        """Nothing to do."""

    def hint(self, event: Event, frame_at: float | None) -> None:
        """Frigate's MQTT message: this event runs, and its picture is new or better. From any thread."""

        def take() -> None:
            self.plan.hint(event, self._clock.monotonic(), frame_at)
            self._news.set()

        self._in_loop(take)

    def ended(self, event_id: str) -> None:
        """Frigate's MQTT message: it is over. From any thread."""
        self._in_loop(lambda: self.plan.end(event_id))

    def listening(self, is_listening: bool) -> None:  # noqa: FBT001
        """It looks by itself, too. From any thread."""
        if not is_listening:
            self._in_loop(self.plan.hear_no_more)

    def look_now(self) -> None:
        """Rows of Frigate's table are new or different. In the event loop."""
        self._next_look = 0.0
        self._news.set()

    # -- the loop --------------------------------------------------------------------------------------------------

    async def regularly(self) -> None:
        """Look, send, clean up, for ever."""
        self._loop = asyncio.get_running_loop()
        if self._has_ended:  # it is run anew
            self._ledger.close()
            self._pool, self._scan = ThreadPoolExecutor(_AT_ONCE, "live"), ThreadPoolExecutor(1, "live scan")
        try:
            await self._in(self._scan, self._ledger.open)
            while True:
                now = self._clock.monotonic()
                if now >= self._next_look:
                    self._next_look = now + LOOK_SECONDS
                    await self._look(now)
                self._start_due()
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.01, self._next_look - self._clock.monotonic())):
                        await self._news.wait()
        finally:
            self._has_ended = True
            for task in self._sending:
                task.cancel()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._scan.shutdown(wait=False, cancel_futures=True)

    async def _look(self, now: float) -> None:
        try:
            events = await self._in(self._scan, self._running)
        except FrigateError:
            return  # told by the discovery
        self.plan.see(events, now)
        if now >= self._clean_at and self._settings.live_keep != "all":
            self._clean_at = now + _CLEAN_SECONDS
            await self._in(self._scan, self._clean)

    def _start_due(self) -> None:
        for watched in self.plan.due(self._clock.monotonic(), _AT_ONCE - self.plan.in_hand):
            task = asyncio.create_task(self._send(watched))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, watched: Watched) -> None:
        sha256 = None
        try:
            sha256 = await self._in(self._pool, self._attempt, watched.event, watched.sha256, watched.frame_at)
            self._note_success()
        except (ApiError, FrigateError, StoreError, LedgerError, sqlite3.Error) as error:
            self._tell(watched.event.camera, "failed")
            self._note("s3" if isinstance(error, StoreError) else "api", str(error))
        finally:
            self.plan.done(watched, sha256)
            self._news.set()

    def _note(self, what: str, sentence: str) -> None:
        """Tell of trouble when it begins; where two sentences alternate, of each now and then."""
        if self._told[what].is_bad_news(sentence, self._clock.monotonic()):
            logger().warning("S3 live pictures: %s The final snapshots go on.", sentence)

    def _note_success(self) -> None:
        """A picture was sent: what was wrong with Frigate or S3 is over."""
        are_over = [self._told[what].is_good_news(at_first=False) for what in ("api", "s3")]  # all of them are told
        if any(are_over):
            logger().info("S3 live pictures go on")

    # -- in threads ------------------------------------------------------------------------------------------------

    def _running(self) -> list[Event]:
        return self._database.running(self._clock.now() - _LONGEST_EVENT)

    def _attempt(self, event: Event, last_sha256: str | None, frame_at: float | None) -> str | None:
        """Send the picture if it is another one than the last; returns its SHA-256."""
        found = self._picture(event)
        if found is None:
            return None
        picture, ending = found
        sha256 = hashlib.sha256(picture).hexdigest()
        if sha256 == (last_sha256 or self._ledger.last_sha256(event.id)):
            return sha256
        taken_at = self._clock.now()
        number, key = self._ledger.begin(event, lambda n: live_key_for(event, n, ending, self._settings), taken_at)
        metadata = object_metadata(event, sha256) | {"live": str(number), "taken": f"{taken_at:.3f}"}
        if frame_at is not None:
            metadata["frame"] = f"{frame_at:.3f}"
        storage_class = self._settings.effective_storage_class
        tagged = tags("live", self._settings)
        upload = Upload(key, picture, len(picture), CONTENT_TYPES[ending], metadata, storage_class, tagged)
        self._store.put(upload, create=self._settings.preset.conditional_put is True)
        now = self._clock.now()
        self._ledger.done(event.id, number, len(picture), sha256, now)
        self._tell(event.camera, "sent")
        logger().info(
            "S3 live picture done camera=%s label=%s key=%s size=%s after=%s",
            event.camera, event.label, key, format_size(len(picture)), format_duration(round(max(0.0, now - event.start_time), 1)),
        )  # fmt: skip
        return sha256

    def _picture(self, event: Event) -> tuple[bytes, str] | None:
        """A picture and its file's ending: the file of a manual event, which is there at once, else from Frigate."""
        if not event.is_manual:
            picture = self._source.picture(event.id)
            return None if picture is None else (picture, "jpg")
        found = self._pictures.find(event, Kind.SNAPSHOT)
        if found is None:
            return None
        try:
            descriptor, _size = self._pictures.open(found.source)
        except (SourceVanishedError, SourceRefusedError, SourceUnreachableError):
            return None
        with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor
            return file.read(), found.source.rsplit(".", 1)[-1]

    def _clean(self) -> None:
        """Delete what S3_LIVE_KEEP does not keep, once the final snapshot is in the bucket, and only then."""
        try:
            for picture in self._ledger.superfluous(keep_first=self._settings.live_keep == "first"):
                self._store.delete(picture.key)
                self._ledger.deleted(picture)
            self._ledger.forget(self._clock.now() - FORGET_AFTER)
        except StoreError as error:
            self._note("delete", f"S3_LIVE_KEEP={self._settings.live_keep} cannot delete: {error}")
        except sqlite3.Error as error:
            logger().debug("S3 live pictures: the ledger is busy (%s)", error)

    # -- shared ----------------------------------------------------------------------------------------------------

    @staticmethod
    async def _in(pool: ThreadPoolExecutor, function: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)

    def _in_loop(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            if self._loop is not None:
                self._loop.call_soon_threadsafe(call)
