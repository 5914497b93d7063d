"""`verify`: what Frigate has, what the ledger says and what the bucket holds, compared.

The listing goes page by page into a temporary database on disk, and is joined there with the ledger, so memory does not
grow with the bucket. Nothing in the bucket is changed.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import Filters, FrigateError
from frigate_s3_mirror.frigate_access import access
from frigate_s3_mirror.keys import is_live_key, parse_key
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger, time_of_id
from frigate_s3_mirror.ledger_file import FILE_NAME
from frigate_s3_mirror.s3 import ObjectStore, md5_of_etag
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.scan import FrigateScan
from frigate_s3_mirror.scope import Scope
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import RECORDING, Files, SourceRefusedError, SourceUnreachableError, SourceVanishedError

Advance = Callable[[str, int, int | None], None]
"""Takes what is being done, how far it is, and of how many."""
_PAGE = 500
_AT_ONCE = 64  # downloads that are ahead of what was read of them
_MOST_NAMED = 10_000  # findings of one kind that are kept; the counts are always exact


class Trouble(StrEnum):
    """What is not as it should be."""

    MISSING = "missing"
    """The ledger says uploaded, the bucket lacks it."""
    DIFFERENT = "different"
    """The bucket holds something else than what was sent."""
    UNKNOWN = "unknown"
    """The bucket has it, the ledger does not know it; no loss."""
    UNMIRRORED = "unmirrored"
    """Frigate has it, the bucket not (yet)."""


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

    @property
    def is_fine(self) -> bool:
        """Whether everything that should be in the bucket is there as it was sent."""
        return not any(self.counts[trouble] for trouble in (Trouble.MISSING, Trouble.DIFFERENT, Trouble.UNMIRRORED))

    def add(self, difference: Difference) -> None:
        """Count it, and keep it unless there are very many."""
        self.counts[difference.trouble] += 1
        if self.counts[difference.trouble] <= _MOST_NAMED:
            self.differences.append(difference)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON-ready values; docs/recovery.md describes them."""
        return {
            "fine": self.is_fine,
            "checked": self.checked,
            "downloaded": self.downloaded,
            **{trouble.value: count for trouble, count in self.counts.items()},
            "requeued": self.requeued,
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

    def run(self, *, deep: bool = False, repair: bool = False) -> Verdict:
        """Compare; with `deep` every object is downloaded and hashed, with `repair` what can be sent again is queued."""
        ledger = Ledger.of(self._settings)
        with ledger.reading():
            pass  # it is there, and about this bucket
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
        wanted, parameters = self._scope.sql()
        sql = f"""
            SELECT o.id, o.event_id, o.key, o.size_bytes, o.etag, l.size, l.etag FROM ledger.object o
            LEFT JOIN listed l ON l.key = o.key WHERE o.state = 'uploaded' AND o.key IS NOT NULL AND {wanted}
        """  # noqa: S608  # only fixed fragments are put together; values are parameters
        for row, event_id, key, size, etag, there_size, there_etag in connection.execute(sql, parameters):
            verdict.checked += 1
            if verdict.checked % _PAGE == 0:
                self._advance("Comparing", verdict.checked, None)
            if there_size is None:
                verdict.add(Difference(Trouble.MISSING, event_id, key, "is not in the bucket", row))
            elif detail := _detail(size, etag, there_size, there_etag):
                verdict.add(Difference(Trouble.DIFFERENT, event_id, key, detail, row))
        for difference in self._unknown(connection):
            verdict.add(difference)

    def _unknown(self, connection: sqlite3.Connection) -> Iterator[Difference]:
        """Objects without an entry; those of the mirror's own and those whose entry was imported have none to name."""
        sql = "SELECT l.key FROM listed l LEFT JOIN ledger.object o ON o.key = l.key WHERE o.id IS NULL"
        known = "SELECT 1 FROM ledger.object WHERE event_id = ? AND kind = ? AND state = 'uploaded' AND key IS NULL"
        for (key,) in connection.execute(sql):
            if "/.mirror/" in f"/{key}" or is_live_key(key):
                continue
            parts = parse_key(key)
            if parts is None:
                if self._scope == Scope():
                    yield Difference(Trouble.UNKNOWN, None, key, "is not a name of the mirror's")
            elif (
                self._scope.holds(time_of_id(parts.event_id, 0.0), parts.camera)
                and not connection.execute(known, (parts.event_id, parts.kind)).fetchone()
            ):
                yield Difference(Trouble.UNKNOWN, parts.event_id, key, "is not in the ledger")

    def _download(self, connection: sqlite3.Connection, verdict: Verdict) -> None:
        wanted, parameters = self._scope.sql()
        source = f"FROM ledger.object o JOIN listed l ON l.key = o.key WHERE o.state = 'uploaded' AND {wanted}"
        total = connection.execute(f"SELECT count(*) {source}", parameters).fetchone()[0]
        rows = connection.execute(f"SELECT o.id, o.event_id, o.key, o.sha256 {source}", parameters)  # fixed fragments
        with ThreadPoolExecutor(self._settings.upload_threads) as pool:
            while page := rows.fetchmany(_AT_ONCE):
                for found in pool.map(self._hash, page):
                    verdict.downloaded += 1
                    if found is not None:
                        verdict.add(found)
                self._advance("Downloading", verdict.downloaded, total)

    def _hash(self, row: tuple[int, str, str, str | None]) -> Difference | None:
        number, event_id, key, sha256 = row
        with tempfile.TemporaryFile() as file:
            stored, found = self._store.download(key, file)
        sha256 = sha256 or stored.metadata.get("sha256")
        if sha256 is None or sha256 == found:
            return None
        return Difference(Trouble.DIFFERENT, event_id, key, "its content has another SHA-256", number)

    def _look_at_frigate(self, verdict: Verdict) -> None:
        """Events with a file that the ledger does not know as uploaded."""
        with Ledger.of(self._settings).reading() as ledger:
            for entry in ledger.unmirrored():
                if self._scope.holds(entry.event.start_time, entry.event.camera, entry.event.label):
                    detail = entry.last_error or f"is {entry.state}"
                    verdict.add(Difference(Trouble.UNMIRRORED, entry.event.id, entry.key, detail, entry.row))
        settings = self._settings
        filters = Filters(settings.cameras, settings.labels)
        scan = FrigateScan(self._ledger_path, self._frigate.database, filters, settings.picture_kinds)
        before: float | None = float("inf")
        try:
            while before is not None:
                events, before = scan.page(before)
                for event in events:
                    in_scope = self._scope.holds(event.start_time, event.camera, event.label)
                    if in_scope and event.end_time is not None and self._frigate.pictures.find(event, Kind.SNAPSHOT):
                        verdict.add(Difference(Trouble.UNMIRRORED, event.id, None, "was not seen yet; `run` sends it"))
        finally:
            scan.close()

    def _repair(self, verdict: Verdict) -> None:
        broken = [d for d in verdict.differences if d.trouble in {Trouble.MISSING, Trouble.DIFFERENT}]
        if not broken:
            return
        ledger = Ledger.of(self._settings)
        ledger.open()
        try:
            for start in range(0, len(broken), _PAGE):
                page = {d.row: d for d in broken[start : start + _PAGE]}
                entries = ledger.entries(list(page))
                there = [e for e in entries if e.source and self._has_file(e)]
                ledger.requeue([e.row for e in there])
                verdict.requeued += len(there)
                gone = set(page) - {e.row for e in there}
                verdict.beyond_repair += [page[row].event_id or "" for row in sorted(gone)]
        finally:
            ledger.close()

    def _has_file(self, entry: Entry) -> bool:
        """Whether Frigate still has what the entry was made from; what is made from the ledger is always there."""
        files: Files = self._frigate.pictures
        source = entry.source or ""
        if source.startswith(RECORDING):
            files, source = self._frigate.recordings, source.removeprefix(RECORDING)
        elif ":" in source:
            return True
        try:
            descriptor, _ = files.open(source)
        except (SourceVanishedError, SourceRefusedError):
            return False
        except SourceUnreachableError as error:  # that says nothing about the file
            raise FrigateError(str(error)) from error
        os.close(descriptor)
        return True


def _detail(size: int | None, etag: str | None, there_size: int, there_etag: str) -> str:
    """How a listed object differs from what was sent; "" when it does not."""
    if size is not None and size != there_size:
        return f"has {there_size} bytes instead of {size}"
    both_md5 = md5_of_etag(etag or "") is not None and md5_of_etag(there_etag) is not None
    if both_md5 and etag != there_etag:
        return "has another checksum (ETag)"
    return ""


def why_not(error: StoreError) -> str:
    """A sentence for a listing that was refused."""
    if error.status in {401, 403}:
        return f"{error} Verifying lists the bucket: allow s3:ListBucket, see `iam-policy --with-verify`."
    return str(error)


def worst_first(differences: Sequence[Difference]) -> list[Difference]:
    """In the order in which people want to read them."""
    order = list(Trouble)
    return sorted(differences, key=lambda difference: order.index(difference.trouble))
