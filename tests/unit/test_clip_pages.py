"""What the page knows of clips without a network: from the ledger, stretches of files, tickets, numbers apart."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror import stretches
from frigate_s3_mirror.catalogue import Catalogue
from frigate_s3_mirror.clip_catalogue import began_at, clip_of, known_segment
from frigate_s3_mirror.clips import playlist_object
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.keys import segment_name
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.running import running_events
from frigate_s3_mirror.stretches import NoSuchStretchError, Wanted, wanted
from frigate_s3_mirror.web.access import Access
from frigate_s3_mirror.web.metrics import Metrics

EVENT = Event("100.5-abcdef", "yard", "person", None, 100.5, 130.0, True, (), None, False)
TOKEN = "a-long-enough-token"


def part(number: int, event: Event = EVENT, state: State = State.PENDING) -> Entry:
    at = 100.0 + 10 * number
    name = segment_name(at)
    source = f"recording:1970-01-01/00/{event.camera}/{number:02}.00.mp4"
    key = f"yard/{event.id}/{name}.mp4"
    return Entry(0, event, Kind.CLIP, source, key, state, at + 10, part=name, seconds=10.0)


def playlist(event: Event = EVENT) -> Entry:
    return Entry(0, event, Kind.CLIP, "ledger:playlist", f"yard/{event.id}/clip.m3u8", State.PENDING, 130.0)


def snapshot(event: Event = EVENT) -> Entry:
    return Entry(0, event, Kind.SNAPSHOT, "yard.jpg", f"yard/{event.id}.jpg", State.PENDING, 130.0)


def sent(entry: Entry, at: float = 140.0) -> Outcome:
    return Outcome(entry, State.UPLOADED, 1, 0, 0.0, size_bytes=1000, sha256="5" * 64, etag="e", uploaded_at=at)


def test_a_clip_is_its_segments_and_what_is_missing(ledger: Ledger) -> None:
    """In their order, with what waits and what is lost; ended once there is a playlist."""
    first, second, third, fourth = ledger.record([part(n) for n in (2, 0, 1, 3)], 0.0)
    lost = Outcome(third, State.EXPIRED, 1, 0, 0.0, "gone")
    ledger.settle([sent(first), sent(second), lost])
    clip = clip_of(ledger, EVENT.id)
    assert clip is not None
    assert [p.name for p in clip.parts] == [second.part, first.part]
    assert (clip.seconds, clip.size_bytes, clip.waiting, clip.lost) == (20.0, 2000, 1, 1)
    assert (clip.camera, clip.label, clip.began_at, clip.is_ended) == ("yard", "person", 100.5, False)
    assert clip.goes_on(150.0)
    assert not clip.goes_on(400.0)
    ledger.record([playlist()], 0.0)
    ended = clip_of(ledger, EVENT.id)
    assert ended is not None
    assert ended.is_ended
    assert not ended.goes_on(150.0)
    assert clip_of(ledger, "other") is None
    assert known_segment(ledger, EVENT.id, fourth.part) is None  # it waits
    assert known_segment(ledger, EVENT.id, "") is None
    known = known_segment(ledger, EVENT.id, second.part)
    assert known is not None
    assert (known.key, known.recording) == (second.key, "1970-01-01/00/yard/00.00.mp4")


@pytest.mark.parametrize("odd", ["9e999", "-9e999", "'ten'", "x'ff'", "NULL", "-3"])
def test_one_odd_segment_among_twenty_spoils_neither_page_nor_playlist(ledger: Ledger, odd: str) -> None:
    """What is no length counts as none."""
    ledger.settle([sent(entry) for entry in ledger.record([part(n) for n in range(21)], 0.0)])
    with contextlib.suppress(sqlite3.IntegrityError):  # a STRICT table takes no text for a number
        ledger.connection.execute(f"UPDATE object SET seconds = {odd} WHERE id = 8")  # noqa: S608
    clip = clip_of(ledger, EVENT.id)
    assert clip is not None
    assert (len(clip.parts), clip.seconds) in {(21, 200.0), (21, 210.0)}
    assert playlist_object(ledger.path, EVENT.id).count(b"#EXTINF:10.000") >= 20
    assert b"inf" not in playlist_object(ledger.path, EVENT.id).lower().replace(b"extinf", b"")


@given(st.integers(0, 4_000_000_000))
def test_a_segment_s_name_says_when_it_began(at: int) -> None:
    """And other names say nothing."""
    assert began_at(segment_name(at)) == at
    assert began_at("clip") is None


def test_hundreds_of_segments_do_not_flood_the_pages(ledger: Ledger) -> None:
    """An event's objects and the counts by camera are without them; a reason is one group that names each event once."""
    other = replace(EVENT, id="200.5-abcdef")
    parts = ledger.record([*(part(n) for n in range(300)), *(part(n, other) for n in range(3)), snapshot()], 0.0)
    broken = [
        Outcome(entry, State.FAILED, 1, 0, 0.0, f"{str(entry.source).removeprefix('recording:')} is empty (0 bytes).")
        for entry in parts[:-1]
    ]
    ledger.settle([*broken, sent(parts[-1])])
    catalogue = Catalogue(ledger)
    assert [p.kind for p in catalogue.event(EVENT.id)] == ["snapshot"]
    assert catalogue.by_camera() == {"yard": {"uploaded": 1}}
    (group,) = catalogue.problems()
    assert (group.reason, group.count, group.events) == ("The file is empty (0 bytes).", 303, 2)
    assert len(group.event_ids) == len(set(group.event_ids))
    assert set(ledger.retry_failed((), "The file is empty (0 bytes).")) == {EVENT.id, other.id}


def test_an_event_runs_until_its_picture_or_playlist_is_known(ledger: Ledger) -> None:
    """Or until no segment came for two minutes."""
    settings = load({
        "S3_BUCKET": "b-b", "S3_ENDPOINT_URL": "http://127.0.0.1:9", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "hush-hush",
        "S3_STATE_DIR": str(ledger.path.parent), "S3_ARTIFACTS": "snapshot,clip",
    }).settings  # fmt: skip
    ledger.settle([sent(entry) for entry in ledger.record([part(0), part(1)], 0.0)])
    (event,) = running_events(settings, 150.0)
    assert (event.event_id, event.label, event.picture, event.segments) == (EVENT.id, "person", None, 2)
    assert running_events(settings, 300.0) == []
    ledger.record([snapshot()], 0.0)
    assert running_events(settings, 150.0) == []


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None), ("", None), ("bytes=-", None), ("bytes=0-", Wanted(0, None)), ("bytes=5-9", Wanted(5, 9)), ("bytes=-3", Wanted(None, 3)),
        ("bytes = 5 - 9", Wanted(5, 9)), ("bytes=9-5", None), ("bytes=1-2,4-5", None), ("items=1-2", None), ("bytes=\u0661-", None),
        ("bytes=" + "9" * 30 + "-", None),
    ],
)  # fmt: skip
def test_a_range_is_understood_or_left_out(header: str | None, expected: Wanted | None) -> None:
    """What is not understood asks for the whole, as HTTP has it."""
    assert wanted(header) == expected


@given(st.binary(max_size=2000), st.none() | st.integers(0, 2500), st.none() | st.integers(0, 2500))
def test_a_stretch_is_what_was_asked_for(content: bytes, first: int | None, last: int | None) -> None:
    """Like a slice; beyond the end there is nothing, and the file is closed either way."""
    descriptor = os.memfd_create("content")
    os.write(descriptor, content)
    expected = content[-last:] if first is None and last else content[first or 0 : None if last is None else last + 1]
    expected = b"" if first is None and last == 0 else expected
    try:
        stretch = stretches.of_file(
            descriptor, len(content), Wanted(first, last) if (first, last) != (None, None) else None
        )
    except NoSuchStretchError:
        assert expected == b""
    else:
        assert b"".join(stretch.chunks) == expected
        assert stretch.headers()["Content-Length"] == str(len(expected))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@given(st.lists(st.binary(max_size=30), max_size=8), st.integers(0, 250), st.integers(0, 250))
def test_a_stretch_is_cut_out_of_chunks(chunks: list[bytes], begin: int, end: int) -> None:
    """Wherever their borders are."""
    assert b"".join(stretches.cut(iter(chunks), begin, end)) == b"".join(chunks)[begin:end]


def test_a_ticket_opens_one_address_for_a_while() -> None:
    """Not another one, not later, not under another token; without a token none is needed."""
    access = Access(TOKEN)
    query = dict(pair.split("=") for pair in access.ticket("/clip/a/b", 1000).removeprefix("?").split("&"))
    assert access.has_ticket("/clip/a/b", query, 999.0)
    assert not access.has_ticket("/clip/a/b", query, 1000.0)
    assert not access.has_ticket("/clip/a/c", query, 999.0)
    assert not access.has_ticket("/clip/a/b", {**query, "until": "2000"}, 999.0)
    for wrong in (
        {},
        {"until": "2000"},
        {"until": "\u0662\u0660\u0660\u0660", "ticket": "x"},
        {"until": "9" * 5000, "ticket": "x"},
    ):
        assert not access.has_ticket("/clip/a/b", wrong, 999.0)
    assert not Access(TOKEN + "x").has_ticket("/clip/a/b", query, 999.0)
    assert Access(None).ticket("/clip/a/b", 1000) == ""


def test_segments_have_numbers_of_their_own() -> None:
    """Pictures' counters and lags are without them; a playlist is counted nowhere."""
    metrics = Metrics(lambda: None)
    metrics.settled([sent(part(0)), Outcome(part(1), State.EXPIRED, 1, 0, 0.0), sent(playlist()), sent(snapshot())])
    text = metrics.text().decode()
    for line in (
        'frigate_s3_mirror_clip_segments_total{camera="yard",result="uploaded"} 1.0',
        'frigate_s3_mirror_clip_segments_total{camera="yard",result="expired"} 1.0',
        'frigate_s3_mirror_clip_bytes_total{camera="yard"} 1000.0',
        'frigate_s3_mirror_uploads_total{camera="yard",result="uploaded"} 1.0',
        "frigate_s3_mirror_event_lag_seconds_count 1.0",
    ):
        assert line in text, line
