"""What a key and its metadata tell of an event: the name has the last word, and no fact can spoil the rest."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.entries import Outcome
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.keys import KeyParts, object_metadata, odd_path, parse_key
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.rebuild import outcome_of
from frigate_s3_mirror.s3 import Stored
from frigate_s3_mirror.source_names import source_of
from frigate_s3_mirror.storage.metadata import object_facts

ID = "1705329022.5-abc123"
KEY = f"frigate/yard/2024-01-15/{ID}-20240115_143022.jpg"
NAMES = ("event-id", "camera", "label", "sub-label", "score", "zones", "start", "end", "sha256", "seconds")
ODD = (
    "nan", "NaN", "inf", "-inf", "1e400", "-1e400", "1e300", "9e15", "-1", "", " ", "x", "%ff%fe", "%00", "%", "%zz", "½", "²",
    "\x1b[2J", "9" * 5000, "a" * 5000, "..%2F..", "1705329022.5,1", "0x10", "1_000", "true", "null", "\ud800",
)  # fmt: skip
odd_values = st.sampled_from(ODD) | st.text(max_size=40) | st.floats().map(str) | st.integers().map(str)


def parts_of(key: str = KEY) -> KeyParts:
    parts = parse_key(key)
    assert parts is not None
    return parts


def adopted(folder: Path, outcomes: list[Outcome]) -> int:
    """Through the ledger's own constraints."""
    ledger = Ledger(folder / "ledger.db")
    ledger.open()
    try:
        return ledger.adopt(outcomes, 1.0)
    finally:
        ledger.close()


@given(st.dictionaries(st.sampled_from(NAMES), odd_values))
def test_odd_facts_are_left_away(metadata: dict[str, str]) -> None:
    """Whatever they are, the event is the one of the key, and can be stored, shown and compared."""
    facts = object_facts(parts_of(), metadata)
    event = facts.event
    assert (event.id, event.camera) == (ID, "yard")
    assert math.isfinite(event.start_time)
    assert 0 <= event.start_time + 86400 < 253402300800
    assert event.end_time is None or event.end_time >= event.start_time
    assert event.score is None or math.isfinite(event.score)
    assert Event.from_json(event.to_json()) == event
    event.to_json().encode()
    assert facts.sha256 is None or len(facts.sha256) == 64


@pytest.mark.parametrize("name", NAMES)
def test_one_odd_object_among_twenty_is_adopted_with_them(tmp_path: Path, name: str) -> None:
    """Each value in each field: the ledger takes all twenty-one."""
    good = [KEY.replace("abc123", f"good{n:02}") for n in range(20)]
    for number, value in enumerate(ODD):
        outcomes = [outcome_of(key, parts_of(key), Stored(3, "e", 1705329030.0, {})) for key in good]
        outcomes.append(outcome_of(KEY, parts_of(), Stored(3, "e", 1705329030.0, {name: value})))
        folder = tmp_path / str(number)
        folder.mkdir()
        assert adopted(folder, outcomes) == 21


def test_what_was_written_is_read_again() -> None:
    """The reading side understands the writing side."""
    event = Event(ID, "yard", "Hund & Katze", "Ärger 100%", 1705329022.5, 1705329030.25, True, ("a", "b"), 0.75, False)
    facts = object_facts(parts_of(), object_metadata(event, "0" * 64))
    assert (facts.event, facts.sha256) == (event, "0" * 64)


def test_the_key_s_camera_wins() -> None:
    """Only where the template has none does the metadata tell, and only a name of Frigate's."""
    assert object_facts(parts_of(), {"camera": "porch"}).event.camera == "yard"
    flat = parts_of(f"flat/{ID}.jpg")
    assert object_facts(flat, {"camera": "porch"}).event.camera == "porch"
    assert object_facts(flat, {"camera": "../etc"}).event.camera == ""
    assert object_facts(parts_of(f"p/../2024-01-15/{ID}.jpg"), {}).event.camera == ""


@pytest.mark.parametrize(
    "name",
    [
        f"{'9' * 13}.5-abc123.jpg", "999999999999.5-abc123.jpg", "١٧٠٥٣٢٩٠٢٢.5-abc123.jpg", "1e5-abc123.jpg", "-abc123.jpg",
        f"{'9' * 400}-abc123.jpg", "1705329022.5-abc123.exe", "1705329022.5-ABC123.jpg", "nan-abc123.jpg", "",
    ],
)  # fmt: skip
def test_names_that_are_no_time_are_not_ours(name: str) -> None:
    """An id's time must be one; digits of other scripts and of hundreds of places are not."""
    assert parse_key(f"yard/2024-01-15/{name}") is None
    assert parse_key(f"yard/2024-01-15/{name.removesuffix('.jpg')}/clip.m3u8") is None


@given(st.text(max_size=60))
def test_any_text_can_be_asked_about(key: str) -> None:
    """No key makes the reader of keys stumble."""
    parts = parse_key(key)
    odd = odd_path(key)
    assert parts is None or isinstance(parts.kind, Kind)
    assert odd is None or odd.isprintable()


@pytest.mark.parametrize(
    ("kind", "ending", "part", "source"),
    [
        (Kind.SNAPSHOT, "jpg", "", f"yard-{ID}.jpg"),
        (Kind.SNAPSHOT, "webp", "", f"yard-{ID}-clean.webp"),
        (Kind.SNAPSHOT, "png", "", f"yard-{ID}-clean.png"),
        (Kind.CLEAN, "webp", "", f"yard-{ID}-clean.webp"),
        (Kind.CLEAN, "png", "", f"yard-{ID}-clean.png"),
        (Kind.CLEAN, "jpg", "", None),
        (Kind.THUMBNAIL, "webp", "", f"thumbs/yard/{ID}.webp"),
        (Kind.THUMBNAIL, "jpg", "", "row:thumbnail"),
        (Kind.THUMBNAIL, "png", "", None),
        (Kind.METADATA, "json", "", "row:metadata"),
        (Kind.CLIP, "m3u8", "", "ledger:playlist"),
        (Kind.CLIP, "mp4", "20240115T143022Z", "recording:2024-01-15/14/yard/30.22.mp4"),
    ],
)
def test_every_kind_has_its_own_source(kind: Kind, ending: str, part: str, source: str | None) -> None:
    """The ending alone says nothing: a thumbnail is a jpg like a snapshot."""
    parts = KeyParts(ID, kind, ending, "yard", part)
    assert source_of("yard", parts) == source
    needs_camera = source is not None and "yard" in source
    assert source_of("", parts) == (None if needs_camera else source)
