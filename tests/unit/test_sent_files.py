"""What was sent and what lies there now."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.sent_files import (
    Change,
    Sent,
    change_of,
    changed_files,
    is_of_another_event,
    is_settled,
    sent_of,
    sent_since,
)
from frigate_s3_mirror.sources import DiskPictures, Found

ID = "1795455533.5-mmeox8"
SENT = Sent(
    7, ID, Kind.SNAPSHOT, State.UPLOADED, "k", f"yard-{ID}.jpg", "yard", 1795455533.5, "5" * 64, 1000, 1795455600.25
)
FOUND = Found(f"yard-{ID}.jpg", 1795455600.25, 1000)
EVENT = Event(ID, "yard", "car", None, 1795455533.5, None, True, (), None, False)


@pytest.mark.parametrize(
    ("sent", "found", "change"),
    [
        (SENT, FOUND, None),
        (SENT, None, None),  # Frigate's retention
        (SENT, replace(FOUND, size_bytes=1001), Change.OTHER_PICTURE),
        (SENT, replace(FOUND, modified_at=1795455601.0), Change.OTHER_PICTURE),
        (replace(SENT, modified_at=None), replace(FOUND, modified_at=1795455601.0), None),  # nobody noted it
        (replace(SENT, modified_at=None), replace(FOUND, size_bytes=999), Change.OTHER_PICTURE),
        (SENT, replace(FOUND, size_bytes=None), None),  # over Frigate's API
        (replace(SENT, size_bytes=None), FOUND, None),  # imported
        (SENT, replace(FOUND, size_bytes=30, is_link=True), None),  # moved away, a link left
        (replace(SENT, kind=Kind.THUMBNAIL), replace(FOUND, size_bytes=1), None),  # a rebuilt ledger guesses
        (replace(SENT, state=State.EXPIRED), FOUND, Change.BACK),
        (replace(SENT, state=State.EXPIRED), None, None),
        (replace(SENT, source=None, state=State.EXPIRED), FOUND, None),
    ],
)
def test_what_calls_for_another_upload(sent: Sent, found: Found | None, change: Change | None) -> None:
    assert change_of(sent, found) is change


@pytest.mark.parametrize(
    ("event", "is_another"),
    [
        (EVENT, False),
        (replace(EVENT, label="dog", end_time=1.0, sub_label="x"), False),  # these change in an event's life
        (replace(EVENT, start_time=EVENT.start_time + 0.4), False),
        (replace(EVENT, start_time=EVENT.start_time + 400), True),
        (replace(EVENT, camera="door"), True),
    ],
)
def test_when_an_id_stands_for_another_event(event: Event, is_another: bool) -> None:
    assert is_of_another_event(SENT, event) is is_another
    assert not is_of_another_event(replace(SENT, camera=None, start_time=None), event)
    assert not is_of_another_event(replace(SENT, camera=""), event), "a flat key tells no camera"


def test_a_file_that_was_just_written_may_be_written_on() -> None:
    assert not is_settled(FOUND, FOUND.modified_at + 0.5)
    assert is_settled(FOUND, FOUND.modified_at + 5)
    assert is_settled(FOUND, FOUND.modified_at - 500)  # a clock was set back


def test_the_ledger_tells_what_was_sent(ledger: Ledger) -> None:
    """Of an event, and since some time; pending ones are no concern."""
    for n, at in ((0, 50.0), (1, 150.0), (2, None)):
        event = replace(EVENT, id=f"{n}.5-abcdef")
        source = f"yard-{event.id}.jpg"
        (entry,) = ledger.record([Entry(0, event, Kind.SNAPSHOT, source, f"k{n}", State.PENDING, 10.0)], 10.0)
        if at is not None:
            ledger.settle(
                [Outcome(entry, State.UPLOADED, 0, 0, 0.0, size_bytes=5, sha256="5" * 64, etag="", uploaded_at=at)]
            )
    assert [sent.event_id for sent in sent_since(ledger.connection, 100.0)] == ["1.5-abcdef"]
    (sent,) = sent_of(ledger.connection, "0.5-abcdef")
    assert (sent.source, sent.size_bytes, sent.camera, sent.is_file) == ("yard-0.5-abcdef.jpg", 5, "yard", True)
    assert sent_of(ledger.connection, "2.5-abcdef") == []


def test_verify_can_ask_for_all_that_changed(ledger: Ledger, tmp_path: Path) -> None:
    """One changed picture among twenty, one that Frigate deleted, one that is a link now."""
    for n in range(20):
        event = replace(EVENT, id=f"{n}.5-abcdef")
        source = f"yard-{event.id}.jpg"
        (tmp_path / source).write_bytes(b"x" * 5)
        (entry,) = ledger.record([Entry(0, event, Kind.SNAPSHOT, source, f"k{n}", State.PENDING, 10.0)], 10.0)
        ledger.settle(
            [Outcome(entry, State.UPLOADED, 0, 0, 0.0, size_bytes=5, sha256="5" * 64, etag="", uploaded_at=5.0)]
        )
    (tmp_path / "yard-7.5-abcdef.jpg").write_bytes(b"y" * 6)
    (tmp_path / "yard-8.5-abcdef.jpg").unlink()
    (tmp_path / "yard-9.5-abcdef.jpg").unlink()
    (tmp_path / "yard-9.5-abcdef.jpg").symlink_to(tmp_path / "yard-10.5-abcdef.jpg")
    changed = changed_files(ledger.connection, DiskPictures(tmp_path))
    assert [(sent.event_id, sent.key, found.size_bytes) for sent, found in changed] == [("7.5-abcdef", "k7", 6)]
    assert not list(changed_files(ledger.connection, DiskPictures(tmp_path), "o.camera = ?", ["door"]))


def test_a_file_that_was_copied_to_another_disk_did_not_change(ledger: Ledger, tmp_path: Path) -> None:
    """Its time is another one, its bytes are not; of the same size with other bytes, it did change."""
    for n in range(20):
        event = replace(EVENT, id=f"{n}.5-abcdef")
        source = f"yard-{event.id}.jpg"
        (tmp_path / source).write_bytes(b"x" * 5)
        (entry,) = ledger.record([Entry(0, event, Kind.SNAPSHOT, source, f"k{n}", State.PENDING, 10.0)], 10.0)
        sha256 = hashlib.sha256(b"x" * 5).hexdigest()
        outcome = Outcome(entry, State.UPLOADED, 0, 0, 0.0, size_bytes=5, sha256=sha256, etag="", uploaded_at=5.0)
        ledger.settle([replace(outcome, source_modified_at=7.0)])
    (tmp_path / "yard-7.5-abcdef.jpg").write_bytes(b"y" * 5)
    changed = changed_files(ledger.connection, DiskPictures(tmp_path))
    assert [sent.event_id for sent, _ in changed] == ["7.5-abcdef"]
