"""`rebuild`: the ledger from the bucket alone. Each object's name and metadata say what the ledger needs to know."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.keys import KeyParts, is_own_key, odd_path, parse_key
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.lifetime import StateLock
from frigate_s3_mirror.recovery_errors import SharedFate, patiently
from frigate_s3_mirror.s3 import ObjectStore, Stored
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.source_names import source_of
from frigate_s3_mirror.storage.metadata import object_facts
from frigate_s3_mirror.storage.store import Listed
from frigate_s3_mirror.tally import Tally

Advance = Callable[[int, int | None], None]
"""Takes how many objects were looked at, and of how many (None: not known)."""


@dataclass(slots=True)
class LeftOut:
    """What was not taken in, or not wholly."""

    foreign: Tally = field(default_factory=Tally)
    """Keys that are no names of the mirror's."""
    odd: Tally = field(default_factory=Tally)
    """Keys that end like ours, in a path that no request can name."""
    unread: Tally = field(default_factory=Tally)
    """Keys that were taken in by their name alone: S3 did not hand out their metadata."""


def rebuild(settings: Settings, advance: Advance) -> tuple[int, LeftOut]:
    """Adopt every object under the prefix; returns how many were new to the ledger and what was left out.

    What the ledger knows already stays as it is. Raises AlreadyRunningError, LedgerError or StoreError.
    """
    store = ObjectStore(settings)
    lock, ledger = StateLock(settings.ledger_dir), Ledger.of(settings)
    lock.take()
    try:
        ledger.open(may_move=True)
        with ledger.in_words("written"):
            return adopt(settings, store, ledger, advance)
    finally:
        ledger.close()
        lock.release()


def adopt(settings: Settings, store: ObjectStore, ledger: Ledger, advance: Advance) -> tuple[int, LeftOut]:
    """The same for a ledger that is open and whose state folder is ours. Raises StoreError."""
    adopted, done, left_out, fate = 0, 0, LeftOut(), SharedFate()

    def look(named: tuple[Listed, KeyParts]) -> tuple[Outcome, StoreError | None]:
        found, parts = named
        refusal = None
        try:
            stored = patiently(lambda: store.describe(found.key))
        except StoreError as error:
            stored, refusal = Stored(found.size_bytes, found.etag, found.modified_at, {}), error
        return outcome_of(found.key, parts, stored), refusal

    with ThreadPoolExecutor(settings.upload_threads) as pool:
        for page in store.list(settings.path_prefix):
            named = _named(page, left_out)
            looked = list(pool.map(look, named))
            # Where the key may list and not read, names have to do for all.
            fate.check([None if error is None or error.status in {403, 404} else error for _, error in looked])
            for (found, _), (_, error) in zip(named, looked, strict=True):
                if error is not None:
                    left_out.unread.add(found.key)
            adopted += ledger.adopt([outcome for outcome, _ in looked], time.time())
            done += len(page)
            advance(done, None)
    return adopted, left_out


def _named(page: list[Listed], left_out: LeftOut) -> list[tuple[Listed, KeyParts]]:
    """The objects that the mirror may have made."""
    named: list[tuple[Listed, KeyParts]] = []
    for found in page:
        parts = parse_key(found.key)
        if parts is None:
            if not is_own_key(found.key):
                left_out.foreign.add(found.key)
        elif odd_path(found.key) is not None:
            left_out.odd.add(found.key)
        else:
            named.append((found, parts))
    return named


def outcome_of(key: str, parts: KeyParts, stored: Stored) -> Outcome:
    """The ledger's entry of an object that S3 has; what the metadata lacks is told from the name."""
    facts = object_facts(parts, stored.metadata)
    event = facts.event
    entry = Entry(
        0,
        event,
        parts.kind,
        source_of(event.camera, parts),  # None where nobody knows: it cannot be sent again
        key,
        State.UPLOADED,
        event.end_time or event.start_time,
        part=parts.part,
        seconds=facts.seconds,
    )
    return Outcome(
        entry,
        State.UPLOADED,
        0,
        0,
        0.0,
        size_bytes=max(0, stored.size_bytes),
        sha256=facts.sha256,
        etag=stored.etag,
        uploaded_at=stored.modified_at,
    )
