"""`verify`: what Frigate has, what the ledger says and what the bucket holds, compared as of one moment.

The listing goes page by page into a temporary database on disk, and is joined there with the ledger, so memory does not
grow with the bucket. A service may upload meanwhile: judged is only what was uploaded before the listing began, and what
still seems amiss is asked for once more by itself before it is said. Nothing in the bucket is changed.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import Event, Filters
from frigate_s3_mirror.exports import Exports
from frigate_s3_mirror.frigate_access import access
from frigate_s3_mirror.keys import id_time, is_own_key, odd_path, parse_key
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import FILE_NAME
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.recovery_errors import SharedFate, explain, patiently
from frigate_s3_mirror.repair import Sources
from frigate_s3_mirror.s3 import ObjectStore, md5_of_etag
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.scan import FrigateScan
from frigate_s3_mirror.scope import Scope, check_camera
from frigate_s3_mirror.second_look import files_that_are_back
from frigate_s3_mirror.sent_files import changed_files, is_of_another_event, sent_of
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import Found
from frigate_s3_mirror.status import is_running
from frigate_s3_mirror.storage.metadata import sha256_of

Advance = Callable[[str, int, int | None], None]
"""Takes what is being done, how far it is, and of how many."""
_PAGE = 500
_AT_ONCE = 64  # downloads that are ahead of what was read of them
_MOST_NAMED = 10_000  # findings of one kind that are kept; the counts are always exact
_MOMENTS = 30.0  # seconds after its end in which an event may be on its way without anything being wrong


_SINCE = "coalesce(o.uploaded_at >= ? AND o.uploaded_at <= ?, 0)"
"""SQL: uploaded since the comparison began; a time that lies ahead comes from another clock and says nothing."""

_PATIENCE = 2.0  # seconds in which a running service sends what only looks as if it waited


class Trouble(StrEnum):
    """What is not as it should be."""

    MISSING = "missing"
    """The ledger says uploaded, the bucket lacks it."""
    DIFFERENT = "different"
    """The bucket holds something else than what was sent."""
    UNKNOWN = "unknown"
    """The bucket has it, the ledger does not know it; no loss."""
    UNREADABLE = "unreadable"
    """The bucket lists it and does not hand it out (`--deep`)."""
    UNMIRRORED = "unmirrored"
    """Frigate has it, the bucket not."""
    WAITING = "waiting"
    """It is recorded and was not sent yet."""
    CHANGED = "changed"
    """Frigate has another picture now than the one that was sent."""


_HARMLESS = frozenset({Trouble.UNKNOWN})
_REPAIRABLE = frozenset({Trouble.MISSING, Trouble.DIFFERENT, Trouble.UNREADABLE, Trouble.CHANGED})


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing found. `row` is the ledger's number, 0 where it has none."""

    trouble: Trouble
    event_id: str | None
    key: str | None
    detail: str
    row: int = 0


@dataclass(slots=True)
class Verdict:
    """All that was found."""

    checked: int = 0
    """Entries of the ledger that were compared with the bucket."""
    downloaded: int = 0
    counts: dict[Trouble, int] = field(default_factory=lambda: dict.fromkeys(Trouble, 0))
    differences: list[Difference] = field(default_factory=list)
    """The first of each kind; `counts` has them all."""
    requeued: int = 0
    beyond_repair: list[str] = field(default_factory=list)
    """Event ids that are neither in the bucket nor in Frigate's folder."""
    left_alone: int = 0
    """Objects that differ and are not sent again, because S3_OVERWRITE=never forbids it."""

    @property
    def is_fine(self) -> bool:
        """Whether everything that should be in the bucket is there as it was sent."""
        return not any(count for trouble, count in self.counts.items() if trouble not in _HARMLESS)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was compared, so that nothing can be said."""
        return not self.checked and self.is_fine

    def add(self, difference: Difference) -> None:
        """Count it, and keep it unless there are very many."""
        self.counts[difference.trouble] += 1
        if self.counts[difference.trouble] <= _MOST_NAMED:
            self.differences.append(difference)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON-ready values; docs/recovery.md describes them."""
        return {
            "fine": self.is_fine and not self.is_empty,
            "checked": self.checked,
            "downloaded": self.downloaded,
            **{trouble.value: count for trouble, count in self.counts.items()},
            "requeued": self.requeued,
            "left_alone": self.left_alone,
            "beyond_repair": self.beyond_repair,
            "differences": [
                {"what": d.trouble.value, "event_id": d.event_id, "key": d.key, "detail": d.detail}
                for d in self.differences
            ],
        }


class Verification:
    """One comparison; `run` does it. Raises StoreError, LedgerError or FrigateError."""

    def __init__(self, settings: Settings, scope: Scope, advance: Advance) -> None:
        self._settings, self._scope, self._advance = settings, scope, advance
        self._store = ObjectStore(settings)
        self._ledger_path = settings.ledger_dir / FILE_NAME
        self._frigate = access(settings)
        self._sources = Sources(self._frigate)
        self._began_at = 0.0
        self._serves = False
        """Whether a service is at work: then what has just happened is on its way."""
        self._of_others: set[int] = set()
        """Rows of the ledger whose event's id Frigate uses for another event now."""

    def run(self, *, deep: bool = False, repair: bool = False) -> Verdict:
        """Compare; with `deep` every object is downloaded and hashed, with `repair` what can be sent again is queued.

        Raises:
            NothingDoneError: no camera of that name is known.
        """
        ledger = Ledger.of(self._settings)
        with ledger.reading():  # it is there, and about this bucket
            check_camera(self._scope, ledger.cameras())
        self._began_at, self._serves = time.time(), is_running(self._settings.ledger_dir)
        verdict = Verdict()
        with ledger.in_words(), tempfile.TemporaryDirectory(prefix="frigate-s3-mirror-") as folder:
            connection = sqlite3.connect(f"file:{folder}/listing.db", uri=True, isolation_level=None)
            try:
                self._load_listing(connection)
                connection.execute("ATTACH ? AS ledger", (f"file:{self._ledger_path}?mode=ro",))
                self._compare(connection, verdict)
                if deep:
                    self._download(connection, verdict)
            finally:
                connection.close()
        self._look_at_frigate(verdict)
        if repair:
            self._repair(verdict)
        return verdict

    def _load_listing(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("CREATE TABLE listed (key TEXT PRIMARY KEY, size INTEGER, etag TEXT) WITHOUT ROWID")
        count = 0
        for page in self._store.list(self._settings.path_prefix):
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT OR REPLACE INTO listed VALUES (?, ?, ?)", [(o.key, o.size_bytes, o.etag) for o in page]
            )
            connection.execute("COMMIT")
            count += len(page)
            self._advance("Listing", count, None)

    def _compare(self, connection: sqlite3.Connection, verdict: Verdict) -> None:
        """The listing against what was uploaded before it began; later uploads it may hold or lack."""
        wanted, parameters = self._scope.sql()
        sql = f"""
            SELECT o.id, o.event_id, o.key, o.size_bytes, o.etag, l.size, l.etag FROM ledger.object o
            LEFT JOIN listed l ON l.key = o.key
            WHERE o.state = 'uploaded' AND o.key IS NOT NULL AND {wanted} AND NOT {_SINCE}
        """  # noqa: S608  # only fixed fragments are put together; values are parameters
        rows = connection.execute(sql, [*parameters, self._began_at, time.time()])
        suspects = self._suspects(rows, verdict)
        with ThreadPoolExecutor(self._settings.upload_threads) as pool:
            trusts_listing = False
            while page := list(islice(suspects, _PAGE)):
                confirmed = page if trusts_listing else [s for s in pool.map(self._look_again, page) if s is not None]
                trusts_listing = trusts_listing or len(confirmed) == _PAGE  # a page of them, and each was right
                for difference in confirmed:
                    verdict.add(difference)
        for difference in self._unknown(connection):
            verdict.add(difference)

    def _suspects(self, rows: Iterator[Any], verdict: Verdict) -> Iterator[Difference]:
        for row, event_id, key, size, etag, there_size, there_etag in rows:
            verdict.checked += 1
            if verdict.checked % _PAGE == 0:
                self._advance("Comparing", verdict.checked, None)
            if there_size is None:
                yield Difference(Trouble.MISSING, event_id, key, "is not in the bucket", row)
            elif detail := _detail(size, etag, there_size, there_etag):
                yield Difference(Trouble.DIFFERENT, event_id, key, detail, row)

    def _look_again(self, suspect: Difference) -> Difference | None:
        """Ask for the object and the ledger's row by themselves: a listing may be behind, and the row may have changed."""
        with Ledger(self._ledger_path).reading() as ledger:
            sent = ledger.sent(suspect.row)
        if sent is None or suspect.key is None:
            return None  # queued meanwhile, or sent again: the next comparison tells
        if self._began_at <= (sent.uploaded_at or 0.0) <= time.time():
            return None
        there = self._there(suspect.key)
        if there is None:
            return Difference(Trouble.MISSING, suspect.event_id, suspect.key, "is not in the bucket", suspect.row)
        detail = _detail(sent.size_bytes, sent.etag, *there)
        return Difference(Trouble.DIFFERENT, suspect.event_id, suspect.key, detail, suspect.row) if detail else None

    def _there(self, key: str) -> tuple[int, str] | None:
        """Size and ETag of an object, by HEAD, or by a listing of its key alone where the key may not read."""
        try:
            stored = patiently(lambda: self._store.describe(key))
        except StoreError as error:
            if error.status == 404:
                return None
            listed = self._store.find(key)
            return None if listed is None else (listed.size_bytes, listed.etag)
        return stored.size_bytes, stored.etag

    def _unknown(self, connection: sqlite3.Connection) -> Iterator[Difference]:
        """Objects without an entry; those of the mirror's own and those whose entry was imported have none to name."""
        sql = "SELECT l.key FROM listed l LEFT JOIN ledger.object o ON o.key = l.key WHERE o.id IS NULL"
        known = "SELECT 1 FROM ledger.object WHERE event_id = ? AND kind = ? AND state = 'uploaded' AND key IS NULL"
        for (key,) in connection.execute(sql):
            parts = parse_key(key)
            if is_own_key(key):
                continue
            if parts is None:
                if self._scope == Scope():
                    yield Difference(Trouble.UNKNOWN, None, key, "is not a name of the mirror's")
            elif (
                self._scope.holds(id_time(parts.event_id), parts.camera)
                and not connection.execute(known, (parts.event_id, parts.kind)).fetchone()
            ):
                yield Difference(Trouble.UNKNOWN, parts.event_id, key, odd_path(key) or "is not in the ledger")

    def _download(self, connection: sqlite3.Connection, verdict: Verdict) -> None:
        wanted, parameters = self._scope.sql()
        source = f"""FROM ledger.object o JOIN listed l ON l.key = o.key
                     WHERE o.state = 'uploaded' AND {wanted} AND NOT {_SINCE}"""
        parameters = [*parameters, self._began_at, time.time()]
        total = connection.execute(f"SELECT count(*) {source}", parameters).fetchone()[0]
        rows = connection.execute(f"SELECT o.id, o.event_id, o.key, o.sha256, l.etag {source}", parameters)
        fate = SharedFate()
        with ThreadPoolExecutor(self._settings.upload_threads) as pool:
            while page := rows.fetchmany(_AT_ONCE):
                results = list(pool.map(self._hash, page))
                fate.check([result if isinstance(result, StoreError) else None for result in results])
                for row, result in zip(page, results, strict=True):
                    verdict.downloaded += not isinstance(result, StoreError)
                    found = self._unreadable(row, result) if isinstance(result, StoreError) else result
                    if found is not None:
                        verdict.add(found)
                self._advance("Downloading", verdict.downloaded, total)

    def _hash(self, row: tuple[int, str, str, str | None, str]) -> Difference | StoreError | None:
        number, event_id, key, sha256, _ = row
        try:
            with tempfile.TemporaryFile() as file:
                stored, found = patiently(lambda: self._store.download(key, file))
        except StoreError as error:
            return error
        sha256 = sha256 or sha256_of(stored.metadata)
        if sha256 is None or sha256 == found:
            return None
        return Difference(Trouble.DIFFERENT, event_id, key, "its content has another SHA-256", number)

    def _unreadable(self, row: tuple[int, str, str, str | None, str], error: StoreError) -> Difference | None:
        number, event_id, key = row[:3]
        if error.status == 404:
            gone = Difference(Trouble.MISSING, event_id, key, "is not in the bucket", number)
            return self._look_again(gone)
        sentence = explain(error, "s3:GetObject", "--with-restore")
        return Difference(Trouble.UNREADABLE, event_id, key, sentence, number)

    def _look_at_frigate(self, verdict: Verdict) -> None:
        """What the ledger does not know as uploaded, and events with a file that it does not know at all."""
        with Ledger.of(self._settings).reading() as ledger:
            frigate = self._frigate
            back = list(files_that_are_back(ledger, frigate.pictures, frigate.recordings, self._holds))
            is_back = {entry.row for entry in back}  # told below
            entries = (entry for entry in ledger.unmirrored() if entry.row not in is_back)
            not_sent = [found for entry in entries if (found := self._not_sent(entry)) is not None]
            waiting = [found for found in not_sent if found.trouble is Trouble.WAITING]
            if waiting and self._serves:
                time.sleep(_PATIENCE)
            sent_meanwhile = {found.row for found in waiting if ledger.sent(found.row) is not None}
            for found in not_sent:
                if found.row not in sent_meanwhile:
                    verdict.add(found)
            for entry in back:
                detail = f"is {entry.state}, but its file is there now; `run` or `retry-failed` sends it"
                verdict.add(Difference(Trouble.UNMIRRORED, entry.event.id, entry.key or None, detail, entry.row))
        settings = self._settings
        filters = Filters(settings.cameras, settings.labels)
        scan = FrigateScan(self._ledger_path, self._frigate.database, filters, settings.picture_kinds)
        before: float | None = float("inf")
        try:
            with Ledger(self._ledger_path).reading() as ledger:
                for difference in self._changed(ledger, scan):
                    verdict.add(difference)
                while before is not None:
                    events, before = scan.page(before)
                    for event in events:
                        if self._is_unseen(event, ledger):
                            detail = "was not seen yet; `run` sends it"
                            verdict.add(Difference(Trouble.UNMIRRORED, event.id, None, detail))
        finally:
            scan.close()

    def _is_unseen(self, event: Event, ledger: Ledger) -> bool:
        """Whether there is something to send for an event that the ledger knows not at all, or not for each kind."""
        is_over = event.end_time is not None and not self._is_on_its_way(event.end_time)
        if not is_over or not self._scope.holds(event.start_time, event.camera, event.label):
            return False
        snapshot = self._frigate.pictures.find(event, Kind.SNAPSHOT)
        lacking = set(self._settings.picture_kinds) - ledger.recorded_kinds(event.id)
        return snapshot is not None and any(self._can_send(event, kind, snapshot) for kind in lacking)

    def _can_send(self, event: Event, kind: Kind, snapshot: Found) -> bool:
        if kind in {Kind.SNAPSHOT, Kind.METADATA}:
            return True
        found = self._frigate.pictures.find(event, kind)
        if found is not None:
            return found.source != snapshot.source  # a clean copy can be the snapshot itself
        return kind is Kind.THUMBNAIL and self._sources.has_inline_thumbnail(event.id)

    def _holds(self, entry: Entry) -> bool:
        return self._scope.holds(entry.event.start_time, entry.event.camera, entry.event.label)

    def _not_sent(self, entry: Entry) -> Difference | None:
        if not self._holds(entry):
            return None
        if entry.state is State.PENDING:
            if self._is_on_its_way(entry.happened_at):
                return None
            detail = entry.last_error or "waits to be sent"
            return Difference(Trouble.WAITING, entry.event.id, entry.key or None, detail, entry.row)
        return Difference(
            Trouble.UNMIRRORED, entry.event.id, entry.key or None, entry.last_error or f"is {entry.state}", entry.row
        )

    def _is_on_its_way(self, happened_at: float) -> bool:
        return self._serves and happened_at >= self._began_at - _MOMENTS

    def _changed(self, ledger: Ledger, scan: FrigateScan) -> Iterator[Difference]:
        """What Frigate changed since it was sent; a service at work learns of what happens meanwhile by itself."""
        for event in scan.used_again().events:
            others = [sent for sent in sent_of(ledger.connection, event.id) if is_of_another_event(sent, event)]
            if self._scope.holds(event.start_time, event.camera, event.label) and not self._is_on_its_way(
                event.start_time
            ):
                self._of_others |= {sent.row for sent in others}
                detail = "is of another event now, to which Frigate gave the same id"
                yield from (Difference(Trouble.CHANGED, event.id, None, detail, sent.row) for sent in others)
        for sent, found in changed_files(ledger.connection, self._frigate.pictures, *self._scope.sql()):
            if sent.row not in self._of_others and not self._is_on_its_way(found.modified_at):
                detail = "Frigate wrote its picture again after the upload"
                yield Difference(Trouble.CHANGED, sent.event_id, sent.key, detail, sent.row)

    def _repair(self, verdict: Verdict) -> None:
        broken = [d for d in verdict.differences if d.trouble in _REPAIRABLE]
        if self._settings.overwrite == "never":  # a different object would be refused for ever
            verdict.left_alone = sum(d.trouble is not Trouble.MISSING for d in broken)
            broken = [d for d in broken if d.trouble is Trouble.MISSING]
        again = [d.row for d in broken if d.row not in self._of_others]
        queued = self._sources.queue_again(self._ledger_path, again) if again else set()
        queued |= self._forget_others({d.row for d in broken} - set(again))
        verdict.requeued = len(queued)
        verdict.beyond_repair = [d.event_id or "" for d in broken if d.row not in queued]

    def _forget_others(self, rows: set[int]) -> set[int]:
        """What was sent stays in the bucket; the event that has its id now is seen as new by the next scan.

        Not named by the state files any more, either, or the next start would take the id for an upload.
        """
        if rows:
            ledger = Ledger(self._ledger_path)
            ledger.open_beside()
            try:
                ledger.forget(list(rows))
                Exports(self._settings, ledger).write()
            finally:
                ledger.close()
        return rows


def _detail(size: int | None, etag: str | None, there_size: int, there_etag: str) -> str:
    """How a listed object differs from what was sent; "" when it does not."""
    if size is not None and there_size >= 0 and size != there_size:
        return f"has {there_size} bytes instead of {size}"
    both_md5 = md5_of_etag(etag or "") is not None and md5_of_etag(there_etag) is not None
    if both_md5 and etag != there_etag:
        return "has another checksum (ETag)"
    return ""


def why_not(error: StoreError) -> str:
    """A sentence for a listing that was refused."""
    return explain(error, "s3:ListBucket", "--with-verify")


def worst_first(differences: Sequence[Difference]) -> list[Difference]:
    """In the order in which people want to read them."""
    order = list(Trouble)
    return sorted(differences, key=lambda difference: order.index(difference.trouble))
