"""`rebuild`: the ledger from the bucket alone. Each object's name and metadata say what the ledger needs to know."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

from frigate_s3_mirror.bodies import PLAYLIST
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.keys import KeyParts, parse_key, recording_path
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger, time_of_id
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.lifetime import StateLock
from frigate_s3_mirror.s3 import Listed, ObjectStore, Stored
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import RECORDING

Advance = Callable[[int, int | None], None]
"""Takes how many objects were looked at, and of how many (None: not known)."""


def rebuild(settings: Settings, advance: Advance) -> tuple[int, int]:
    """Adopt every object under the prefix; returns how many were new to the ledger and how many bore no name of ours.

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


def adopt(settings: Settings, store: ObjectStore, ledger: Ledger, advance: Advance) -> tuple[int, int]:
    """The same for a ledger that is open and whose state folder is ours. Raises StoreError."""
    adopted = strange = done = 0

    def look(named: tuple[Listed, KeyParts]) -> Outcome:
        found, parts = named
        try:
            stored = store.describe(found.key)
        except StoreError as error:
            if error.status not in {403, 404}:
                raise
            stored = Stored(found.size_bytes, found.etag, found.modified_at, {})  # list is allowed, reading is not
        return outcome_of(found.key, parts, stored)

    with ThreadPoolExecutor(settings.upload_threads) as pool:
        for page in store.list(settings.path_prefix):
            named = [(found, parts) for found in page if (parts := parse_key(found.key)) is not None]
            strange += sum(parse_key(found.key) is None and "/.mirror/" not in f"/{found.key}" for found in page)
            adopted += ledger.adopt(list(pool.map(look, named)), time.time())
            done += len(page)
            advance(done, None)
    return adopted, strange


def outcome_of(key: str, parts: KeyParts, stored: Stored) -> Outcome:
    """The ledger's entry of an object that S3 has; what the metadata lacks is told from the name."""
    facts = {name: unquote(value) for name, value in stored.metadata.items()}
    start = _number(facts.get("start")) or time_of_id(parts.event_id, stored.modified_at)
    end = _number(facts.get("end"))
    event = Event(
        id=facts.get("event-id") or parts.event_id,
        camera=facts.get("camera") or parts.camera or "",
        label=facts.get("label") or "",
        sub_label=facts.get("sub-label"),
        start_time=start,
        end_time=end,
        has_snapshot=True,
        zones=tuple(zone for zone in facts.get("zones", "").split(",") if zone),
        score=_number(facts.get("score")),
        is_manual=False,
    )
    entry = Entry(
        0, event, parts.kind, _source(event, parts), key, State.UPLOADED, end or start,
        part=parts.part, seconds=_number(facts.get("seconds")),
    )  # fmt: skip
    return Outcome(
        entry, State.UPLOADED, 0, 0, 0.0, size_bytes=stored.size_bytes, sha256=facts.get("sha256"), etag=stored.etag,
        uploaded_at=stored.modified_at,
    )  # fmt: skip


def _source(event: Event, parts: KeyParts) -> str:
    """Where Frigate keeps such a file, so that `verify --repair` finds it."""
    if parts.kind is Kind.CLIP:
        return f"{RECORDING}{recording_path(event.camera, parts.part)}" if parts.part else PLAYLIST
    return f"{event.camera}-{event.id}{'.jpg' if parts.ending == 'jpg' else f'-clean.{parts.ending}'}"


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
