"""Filters that let nothing of Frigate's through are told, whatever is in its table."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.clock import SystemClock
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.events import Filters, FrigateError
from frigate_s3_mirror.filter_check import CLIPS, FilterWatch, Names, judge, nothing_wanted

NAMES = Names(frozenset({"front_door", "yard"}), frozenset({"person", "car"}))


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        (Filters(('"front_door"',)), "S3_CAMERAS lets none of Frigate's cameras through: front_door, yard."),
        (Filters(("front-door", "!yard")), "S3_CAMERAS lets none of Frigate's cameras through: front_door, yard."),
        (Filters(("!*",)), "S3_CAMERAS lets none of Frigate's cameras through: front_door, yard."),
        (Filters((), ("Person",)), "S3_LABELS lets none of Frigate's labels through: car, person."),
        (Filters(("yard",), ("person",)), "S3_CAMERAS and S3_LABELS together let none of Frigate's events through."),
    ],
)
def test_the_sentence_names_the_filter_and_what_there_is(filters: Filters, sentence: str) -> None:
    """The last one: each lets something through, but no event has both (which the database has told)."""
    assert judge(filters, NAMES) == sentence


def test_without_events_nothing_is_wrong() -> None:
    """Frigate may have its first event tomorrow."""
    assert judge(Filters(("x",)), Names(frozenset(), frozenset())) is None


@given(st.sets(st.text(), min_size=1), st.sets(st.text(), min_size=1))
def test_any_name_makes_one_short_line(cameras: set[str], labels: set[str]) -> None:
    """Names come from outside."""
    found = judge(Filters(("no such camera",)), Names(frozenset(cameras), frozenset(labels)))
    assert found is not None
    assert found.isprintable()
    assert len(found) < 1500


def table(path: Path, cameras: list[object]) -> Path:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE event (id, camera, label, start_time, end_time, has_snapshot)")
    connection.executemany("INSERT INTO event VALUES ('x', ?, 'person', 1, 2, 1)", [(camera,) for camera in cameras])
    connection.execute("UPDATE event SET camera = CAST(x'ff80' AS TEXT) WHERE camera = 'poisoned'")
    connection.commit()
    connection.close()
    return path


@pytest.mark.parametrize("odd", ["poisoned", b"\x00\xff", None, 3e11, "\x1b[31m", "a\nb"])
def test_one_odd_row_among_twenty_good_ones_changes_nothing(tmp_path: Path, odd: object) -> None:
    path = table(tmp_path / "frigate.db", [*["yard"] * 10, odd, *["garage"] * 10])
    assert nothing_wanted(path, Filters(("yard",))) is None
    assert nothing_wanted(path, Filters()) is None
    found = nothing_wanted(path, Filters(("yrad",)))
    assert found is not None
    assert {"garage", "yard"} <= set(found.replace(".", "").replace(",", "").split())
    assert found.isprintable()


def test_the_filters_for_clips_are_looked_at_too(tmp_path: Path) -> None:
    """Under their own names."""
    path = table(tmp_path / "frigate.db", ["yard"])
    assert (
        nothing_wanted(path, Filters(("yrad",)), CLIPS)
        == "S3_CLIP_CAMERAS lets none of Frigate's cameras through: yard."
    )
    environ = {"S3_BUCKET": "my-bucket", "S3_ARTIFACTS": "snapshot,clip", "S3_CAMERAS": "yard"}
    path = table(tmp_path / "more.db", ["yard"] * 5)
    for more, problem in (
        ({}, None),
        ({"S3_CLIP_LABELS": "prson"}, "S3_CLIP_LABELS lets none"),
        ({"S3_CAMERAS": "x"}, "S3_CAMERAS"),
    ):
        found = FilterWatch(load({**environ, **more}).settings, path, SystemClock()).look()
        assert (found is None) == (problem is None)
        assert (found or "").startswith(problem or "")


@pytest.mark.parametrize("events", range(1, 8))
def test_it_is_logged_once_and_a_young_frigate_is_well_all_the_same(
    tmp_path: Path, events: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With quotation marks from compose's list form, say. Of a few events none need be wanted."""
    path = table(tmp_path / "frigate.db", ["yard"] * events)
    watch = FilterWatch(load({"S3_BUCKET": "my-bucket", "S3_CAMERAS": "yrad"}).settings, path, SystemClock())
    with caplog.at_level("WARNING"):
        found = [watch.look() for _ in range(20)]
    assert all((sentence is not None) == (events >= 5) for sentence in found)
    assert caplog.text.count("S3_CAMERAS lets none of Frigate's cameras through: yard. Nothing is mirrored.") == 1


def test_a_database_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """By the one exception that everybody catches."""
    with pytest.raises(FrigateError):
        nothing_wanted(tmp_path / "none.db", Filters(("x",)))
    (tmp_path / "text.db").write_text("dear diary " * 100)
    with pytest.raises(FrigateError):
        nothing_wanted(tmp_path / "text.db", Filters(("x",)))
