"""Queues again what the bucket lacks: from the right source, while that is still there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from frigate_s3_mirror.bodies import PLAYLIST, ROW_METADATA, ROW_THUMBNAIL
from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import Event, Filters, FrigateDatabase, FrigateError
from frigate_s3_mirror.frigate_access import FrigateAccess
from frigate_s3_mirror.keys import metadata_document, parse_key
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.source_names import source_of
from frigate_s3_mirror.sources import RECORDING, Files, SourceRefusedError, SourceUnreachableError, SourceVanishedError

_PAGE = 500


class Sources:
    """What entries are made from, as far as Frigate still has it."""

    def __init__(self, frigate: FrigateAccess) -> None:
        self._frigate = frigate

    def queue_again(self, ledger_path: Path, rows: Sequence[int]) -> set[int]:
        """Make these uploads pending again; returns the rows that are, those among them that were so already.

        Raises LedgerError, and FrigateError when Frigate cannot be asked.
        """
        ledger = Ledger(ledger_path)
        ledger.open_beside()  # a service may be at work
        queued: set[int] = set()
        try:
            for start in range(0, len(rows), _PAGE):
                queued |= self._queue(ledger, rows[start : start + _PAGE])
        finally:
            ledger.close()
        return queued

    def _queue(self, ledger: Ledger, rows: Sequence[int]) -> set[int]:
        found = ledger.entries(rows)
        entries = [entry for entry in found if entry.state is State.UPLOADED]
        sources = {entry.row: source for entry in entries if (source := _right_source(entry))}
        ledger.set_sources(sources.items())
        self._correct_documents(ledger, entries)
        there = [entry.row for entry in ledger.entries(list(sources)) if self.has(entry)]
        ledger.requeue(there)
        return set(there) | {entry.row for entry in found if entry.state is State.PENDING}

    def has(self, entry: Entry) -> bool:
        """Return whether it is still there. Raises FrigateError when Frigate cannot be asked."""
        files: Files = self._frigate.pictures
        source = entry.source or ""
        if source == ROW_THUMBNAIL:
            return self.has_inline_thumbnail(entry.event.id)
        if source in {ROW_METADATA, PLAYLIST}:
            return True
        if source.startswith(RECORDING):
            files, source = self._frigate.recordings, source.removeprefix(RECORDING)
        try:
            descriptor, _ = files.open(source)
        except (SourceVanishedError, SourceRefusedError):
            return False
        except SourceUnreachableError as error:  # that says nothing about the file
            raise FrigateError(str(error)) from error
        os.close(descriptor)
        return True

    def has_inline_thumbnail(self, event_id: str) -> bool:
        """Return whether the event's row holds its thumbnail, as Frigate up to 0.15 keeps it."""
        database = FrigateDatabase(self._frigate.database, Filters())
        try:
            return bool(database.inline_thumbnail(event_id))
        finally:
            database.close()

    def _correct_documents(self, ledger: Ledger, entries: Sequence[Entry]) -> None:
        """Where Frigate's row makes the very document that was sent, make it from that.

        The metadata of an object, which a rebuilt ledger was made from, knows times to a microsecond only.
        """
        database = FrigateDatabase(self._frigate.database, Filters())
        try:
            for entry in entries:
                sent = ledger.sent(entry.row) if entry.kind is Kind.METADATA else None
                if sent is None or sent.sha256 in {None, _document_sha256(entry.event)}:
                    continue
                event = database.event(entry.event.id)
                if event is not None and _document_sha256(event) == sent.sha256:
                    ledger.set_event(entry.row, event)
        finally:
            database.close()


def _right_source(entry: Entry) -> str | None:
    """What the entry is made from: as recorded where that fits its kind, else as its key tells.

    Ledgers that were made from the bucket by older versions name the snapshot for a thumbnail.
    """
    parts = parse_key(entry.key or "")
    if parts is None:
        return entry.source or None
    told = source_of(entry.event.camera, parts)
    fits = {
        Kind.METADATA: (ROW_METADATA,),
        Kind.THUMBNAIL: (ROW_THUMBNAIL, "thumbs/"),
        Kind.CLIP: (RECORDING, PLAYLIST),
    }.get(entry.kind)
    if not entry.source or (fits is not None and not entry.source.startswith(fits)):
        return told
    is_clean_alone = entry.kind is Kind.CLEAN and "-clean." not in entry.source
    return told if is_clean_alone else entry.source


def _document_sha256(event: Event) -> str:
    return hashlib.sha256(metadata_document(event)).hexdigest()
