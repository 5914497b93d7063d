"""Segments and reviews of the simulated Frigate are what the real one leaves, in the same order."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate

START = 1_795_457_819.75  # 2026-11-23 18:16:59 UTC
VERSIONS = ("0.13", "0.14", "0.16", "0.17", "0.18")


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path) as simulated:
        yield simulated


def rows(frigate: SimulatedFrigate, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"{frigate.db_path.as_uri()}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(f"SELECT * FROM {table} ORDER BY start_time")]  # noqa: S608


def columns(frigate: SimulatedFrigate, table: str) -> set[str]:
    with closing(sqlite3.connect(frigate.db_path)) as database:
        return {name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")}


def test_a_segment_is_a_file_named_after_its_second_and_a_row(frigate: SimulatedFrigate) -> None:
    """Day and hour in UTC, the camera, minute and second; the row names the same file."""
    segment = frigate.add_segment("back-yard", START)
    assert segment.path == frigate.recordings_dir / "2026-11-23" / "18" / "back-yard" / "16.59.mp4"
    assert segment.path.read_bytes()[4:8] == b"ftyp"
    (row,) = rows(frigate, "recordings")
    assert re.fullmatch(r"1795457819\.0-[a-z0-9]{6}", segment.id)
    assert (row["id"], row["camera"], row["path"]) == (segment.id, "back-yard", str(segment.path))
    assert (row["start_time"], row["end_time"], row["duration"]) == (1795457819, 1795457829, 10.0)
    assert row["segment_size"] == round(segment.path.stat().st_size / 2**20, 2)


def test_a_row_may_name_the_path_inside_of_the_container(tmp_path: Path) -> None:
    """With `media_path` told, rows of segments and of reviews begin with it, and files are where they were."""
    with SimulatedFrigate(tmp_path, media_path="/media/frigate") as frigate:
        segment = frigate.add_segment("garage", START)
        review = frigate.begin_review([frigate.begin_event("garage")])
        (recorded,), (reviewed,) = rows(frigate, "recordings"), rows(frigate, "reviewsegment")
    assert segment.path.exists()
    assert recorded["path"] == "/media/frigate/recordings/2026-11-23/18/garage/16.59.mp4"
    assert reviewed["thumb_path"] == f"/media/frigate/clips/review/thumb-garage-{review.id}.webp"


def test_the_file_is_whole_before_its_row_exists(frigate: SimulatedFrigate) -> None:
    """A row that cannot be written (its path is taken) finds the file already there."""
    frigate.add_segment("garage", START, content=b"first")
    with pytest.raises(sqlite3.IntegrityError):
        frigate.add_segment("garage", START, content=b"second")
    assert (frigate.recordings_dir / "2026-11-23/18/garage/16.59.mp4").read_bytes() == b"second"
    assert len(rows(frigate, "recordings")) == 1


def test_no_two_segments_are_equal(frigate: SimulatedFrigate) -> None:
    """Small ones are as long as told, and noise throughout."""
    contents = [
        frigate.add_segment("garage", START + 10 * number, size_bytes=500).path.read_bytes() for number in (0, 1)
    ]
    assert [len(content) for content in contents] == [500, 500]
    assert contents[0] != contents[1]


def test_two_gigabytes_need_no_disk(frigate: SimulatedFrigate) -> None:
    """A big segment is a hole between two ends of its own."""
    first, second = (frigate.add_segment("garage", START + 10 * n, size_bytes=2_000_000_000).path for n in (0, 1))
    assert first.stat().st_size == 2_000_000_000
    assert first.stat().st_blocks * 512 < 1_000_000
    with first.open("rb") as one, second.open("rb") as other:
        heads = one.read(1000), other.read(1000)
        one.seek(-1000, 2)
        other.seek(-1000, 2)
        tails = one.read(), other.read()
    assert heads[0][4:8] == b"ftyp"
    assert heads[0] != heads[1]
    assert tails[0] != tails[1]
    assert set(tails[0]) != {0}


@pytest.mark.parametrize(("row", "file"), [(True, True), (False, True), (True, False)])
def test_either_half_of_a_segment_can_be_deleted(frigate: SimulatedFrigate, row: bool, file: bool) -> None:
    """Frigate deletes the file before the row; in between, and for ever after a crash, only one is there."""
    segment = frigate.add_segment("garage", START)
    frigate.delete_segment(segment, row=row, file=file)
    assert len(rows(frigate, "recordings")) == int(not row)
    assert segment.path.exists() is not file


@pytest.mark.parametrize("version", VERSIONS)
def test_the_tables_are_those_of_the_version(tmp_path: Path, version: str) -> None:
    """Regions and reviews came with 0.14, seen by each user for themselves from 0.16 on, heat maps with 0.18."""
    with SimulatedFrigate(tmp_path, version) as frigate:
        recordings, reviews = columns(frigate, "recordings"), columns(frigate, "reviewsegment")
        with closing(sqlite3.connect(frigate.db_path)) as database:
            indexes = {name for _, name, *_ in database.execute("PRAGMA index_list(recordings)")}
    assert {"recordings_camera", "recordings_path", "recordings_camera_start_time_end_time"} < indexes
    assert ("regions" in recordings) == (version != "0.13")
    assert ("motion_heatmap" in recordings) == (version == "0.18")
    assert bool(reviews) == (version != "0.13")
    assert ("has_been_reviewed" in reviews) == (version == "0.14")


def test_a_review_begins_is_raised_and_ends(frigate: SimulatedFrigate) -> None:
    """It starts a moment after its first event, has no end while it runs, and never becomes a detection again."""
    events = [frigate.begin_event("garage", "person"), frigate.begin_event("garage", "cat")]
    review = frigate.begin_review(events, "detection")
    (row,) = rows(frigate, "reviewsegment")
    details = json.loads(row["data"])
    assert (row["id"], row["end_time"], row["severity"]) == (review.id, None, "detection")
    assert row["start_time"] == pytest.approx(events[0].start_time + 0.2)
    assert (details["detections"], details["objects"]) == ([event.id for event in events], ["cat", "person"])
    assert Path(row["thumb_path"]).exists()
    review = frigate.end_review(frigate.raise_review(review), end_time=START)
    (row,) = rows(frigate, "reviewsegment")
    assert (row["end_time"], row["severity"]) == (START, "alert")
    assert (review.end_time, review.severity) == (START, "alert")


@pytest.mark.parametrize("version", ["0.14", "0.16", "0.17"])
def test_a_review_says_what_its_version_says(tmp_path: Path, version: str) -> None:
    """0.17 added verified objects, the time of the thumbnail and metadata."""
    with SimulatedFrigate(tmp_path, version) as frigate:
        frigate.begin_review([frigate.begin_event("garage")])
        (row,) = rows(frigate, "reviewsegment")
    added = {"verified_objects", "thumb_time", "metadata"} if version == "0.17" else set()
    assert set(json.loads(row["data"])) == {"detections", "objects", "sub_labels", "zones", "audio"} | added


def test_0_13_knows_no_reviews(tmp_path: Path) -> None:
    """It has recordings; a review is refused with the reason."""
    with SimulatedFrigate(tmp_path, "0.13") as frigate:
        frigate.add_segment("garage", START)
        with pytest.raises(ValueError, match=r"0\.13 knows no reviews"):
            frigate.begin_review([frigate.begin_event("garage")])
