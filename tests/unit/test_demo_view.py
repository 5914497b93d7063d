"""What the demo tells: its numbers come from bucket and ledger, and its screen fits a small terminal."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from PIL import Image
from rich.cells import cell_len
from rich.console import Console

from frigate_s3_mirror.demo import pictures
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.mirror_process import mirror_environment
from frigate_s3_mirror.demo.progress import Progress, ProgressReader, Upload, expected_key, percentile
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.demo.verdict import Verdict, compare, seconds_text, verdict_table
from frigate_s3_mirror.demo.view import Place, PlainView, screen, short_key, sparkline


@dataclass(frozen=True)
class Scene:
    """A Frigate, an empty bucket, and a ledger as the mirror writes it."""

    frigate: SimulatedFrigate
    bucket_dir: Path
    ledger_path: Path
    reader: ProgressReader

    def ended_event(self) -> SimulatedEvent:
        event = self.frigate.end_event(self.frigate.begin_event("front_door", "person"))
        self.reader.note(event)
        return event

    def store(self, event: SimulatedEvent, content: bytes | None = None) -> None:
        assert event.snapshot_path is not None
        path = self.bucket_dir / expected_key(event)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(event.snapshot_path.read_bytes() if content is None else content)

    def acknowledge(self, event: SimulatedEvent, uploaded_at: float) -> None:
        with closing(sqlite3.connect(self.ledger_path)) as ledger, ledger:
            ledger.execute("CREATE TABLE IF NOT EXISTS object (event_id, kind, key, state, uploaded_at)")
            row = (event.id, expected_key(event), uploaded_at)
            ledger.execute("INSERT INTO object VALUES (?, 'snapshot', ?, 'uploaded', ?)", row)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    bucket_dir, ledger_path = tmp_path / "bucket", tmp_path / "ledger.db"
    bucket_dir.mkdir()
    with SimulatedFrigate(tmp_path / "frigate", sleep=lambda _: None) as frigate:
        yield Scene(frigate, bucket_dir, ledger_path, ProgressReader(bucket_dir, ledger_path))


PLACE = Place(
    "0.17", "demo", Path("/demo/bucket"), "http://127.0.0.1:40123", Path("/demo/mirror.log"), "http://127.0.0.1:9/"
)


def upload(number: int) -> Upload:
    key = f"frigate/snapshots/front_door/2026-11-23/1795455533.50086{number}-mmeox8-20261123_203853.jpg"
    return Upload(f"1795455533.50086{number}-mmeox8", "front_door", "☃ snow [bold]man", key, 1_795_455_540.0, 0.038)


def progress() -> Progress:
    return Progress(3, 21, 18, 17, 0.038, 0.09, 1.25, (0,) * 50 + (1,) * 10, tuple(map(upload, range(10))))


def test_the_expected_key_is_the_readme_s_path(scene: Scene) -> None:
    """The key is prefix, camera, local date, then id and local time of the start."""
    event = scene.ended_event()
    start = datetime.fromtimestamp(event.start_time, UTC).astimezone()
    assert expected_key(event, "a/b") == (f"a/b/front_door/{start:%Y-%m-%d}/{event.id}-{start:%Y%m%d_%H%M%S}.jpg")


def test_progress_counts_what_the_bucket_folder_holds(scene: Scene) -> None:
    """An ended event is outstanding until its object is there; a running or broken one never is."""
    first, _second = scene.ended_event(), scene.ended_event()
    scene.reader.note(scene.frigate.begin_event())
    scene.reader.note(scene.frigate.killed_event())
    scene.store(first)
    seen = scene.reader.read(time.time())
    assert (seen.running, seen.ended, seen.with_snapshot, seen.in_bucket, seen.outstanding) == (1, 3, 2, 1, 1)


def test_lag_runs_from_frigate_s_commit_to_the_acknowledged_upload(scene: Scene) -> None:
    """Each upload of the ledger counts once, however often the ledger is read."""
    event = scene.ended_event()
    assert event.row_complete_at is not None
    scene.acknowledge(event, event.row_complete_at + 0.04)
    scene.reader.read(time.time())
    seen = scene.reader.read(event.row_complete_at + 2)
    assert seen.median_seconds == pytest.approx(0.04)
    assert [(entry.event_id, entry.label) for entry in seen.latest] == [(event.id, "person")]
    assert sum(seen.per_second) == 1


def test_without_a_ledger_there_is_no_lag(scene: Scene) -> None:
    """Before the mirror made its ledger the view shows dashes, and nobody creates a file in its place."""
    assert scene.reader.read(time.time()).median_seconds is None
    assert not scene.ledger_path.exists()


def test_the_verdict_names_what_is_missing_wrong_or_sent_twice(scene: Scene) -> None:
    """Only a byte for byte copy under the expected key counts."""
    good, missing, wrong = (scene.ended_event() for _ in range(3))
    scene.frigate.killed_event()
    scene.store(good)
    scene.store(wrong, b"something else")
    verdict = compare(scene.frigate.events, scene.bucket_dir, {expected_key(good): 2})
    assert verdict == Verdict(
        events=4,
        with_snapshot=3,
        identical=1,
        missing=(expected_key(missing),),
        wrong=(expected_key(wrong),),
        put_twice=(expected_key(good),),
    )
    assert len(verdict.problems()) == 2


@pytest.mark.parametrize("width", [80, 200])
def test_the_screen_fits_the_terminal(width: int) -> None:
    """No line is wider than the terminal, and no label is read as markup."""
    console = Console(file=StringIO(), width=width, height=30, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(screen(progress(), PLACE, width, 30))
    lines = capture.get().splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len(lines) < 30
    assert any("[bold]" in line for line in lines)
    assert any("mmeox8-20261123_203853.jpg" in line for line in lines)


def test_plain_lines_tell_each_upload_once() -> None:
    """Without a terminal every upload is one whole line, whatever the width."""
    stream = StringIO()
    with PlainView(Console(file=stream, width=40), PLACE) as view:
        view.show(progress())
        view.show(progress())
    lines = stream.getvalue().splitlines()
    assert sum("uploaded camera=front_door" in line for line in lines) == 10
    assert sum("in_bucket=17" in line for line in lines) == 1


def test_small_texts() -> None:
    """Bars, durations, percentiles and shortened keys read as meant."""
    assert sparkline((0, 1, 8)) == "·▁█"
    assert [seconds_text(value) for value in (None, 0.0384, 1.254)] == ["-", "38 ms", "1.25 s"]
    assert (percentile([], 0.5), percentile([1.0, 2.0, 3.0], 0.5), percentile([1.0, 2.0], 1.0)) == (
        None,
        2.0,
        2.0,
    )
    assert (short_key("abcdef", 6), short_key("abcdef", 4)) == ("abcdef", "…def")


def test_the_summary_shows_every_number() -> None:
    """The table at the end has the counts and the lags."""
    console = Console(file=StringIO(), width=80)
    with console.capture() as capture:
        console.print(verdict_table(Verdict(21, 18, 17, ("a",), (), ()), progress()))
    text = capture.get()
    assert all(part in text for part in ("identical, byte for byte", "17", "38 ms", "90 ms"))


def test_the_mirror_gets_no_foreign_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own S3 or AWS variables never reach the demo's mirror."""
    monkeypatch.setenv("S3_STORAGE_CLASS", "GLACIER")
    monkeypatch.setenv("AWS_PROFILE", "work")
    with SimulatedFrigate(tmp_path) as frigate:
        environment = mirror_environment(EmbeddedS3(tmp_path), frigate, S3_UPLOAD_THREADS="2")
    assert not {"S3_STORAGE_CLASS", "AWS_PROFILE"} & environment.keys()
    assert environment["S3_UPLOAD_THREADS"] == "2"
    assert environment["FRIGATE_DB_PATH"] == str(frigate.db_path)


@pytest.mark.parametrize(("ending", "name"), [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")])
def test_pictures_are_pictures_and_the_same_every_time(ending: str, name: str) -> None:
    """The same moment at the same camera gives the same bytes, in the format asked for."""
    moment = datetime(2026, 11, 23, 20, 38, 53, tzinfo=UTC)
    picture = pictures.picture("garage", "☃ snowman", moment, ending, annotated=True)
    assert picture == pictures.picture("garage", "☃ snowman", moment, ending, annotated=True)
    assert picture != pictures.picture("garage", "☃ snowman", moment, ending, annotated=False)
    with Image.open(BytesIO(picture)) as image:
        assert (image.format, image.size) == (name, (640, 360))
