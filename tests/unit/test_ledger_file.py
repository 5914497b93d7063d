"""Whatever is wrong with the ledger's file: opening and reading say so in one sentence, and the service goes on."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from frigate_s3_mirror.catalogue import Wanted, open_catalogue
from frigate_s3_mirror.cli import app
from frigate_s3_mirror.clip_catalogue import clip_of
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.exports import Exports
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import LedgerError
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.lifetime import StateLock
from frigate_s3_mirror.live_ledger import LiveLedger
from frigate_s3_mirror.running import running_events
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.state_files import StateFiles
from frigate_s3_mirror.status import read_status


def settings(state: Path, **more: str) -> Settings:
    values = {
        "S3_BUCKET": "bucket", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret", "S3_STATE_DIR": str(state),
        "S3_ENDPOINT_URL": "http://127.0.0.1:9", "S3_KEY_TIMEZONE": "UTC", "FRIGATE_DB_PATH": str(state / "no.db"),
        "S3_LIVE": "true", "S3_ARTIFACTS": "snapshot,clip",
    }  # fmt: skip
    return Settings.model_validate(values | more)


def entry(number: int, kind: Kind = Kind.SNAPSHOT, part: str = "") -> Entry:
    event = Event(f"{number}.5-abcdef", "cam", "car", "sub", float(number), number + 1.0, True, ("yard",), 0.5, False)
    name = f"cam/{event.id}{part}"
    return Entry(0, event, kind, f"{name}.jpg", f"key/{name}.jpg", State.PENDING, float(number), part=part)


def fill(made: Settings, count: int = 60, uploaded: int = 30) -> None:
    """A ledger with something of everything, in one file."""
    ledger = Ledger.of(made)
    ledger.open()
    drafts = [entry(n) for n in range(count)] + [entry(1, Kind.CLIP, f"19700101T0000{n:02}Z") for n in range(5)]
    taken = ledger.record(drafts, 1.0)
    ledger.settle(
        [
            Outcome(e, State.UPLOADED, 0, 0, 0.0, None, 9, "5" * 64, "e", 50.0)
            for e in (*taken[:uploaded], *taken[count:])
        ]
    )
    ledger.settle([Outcome(e, State.FAILED, 3, 0, 0.0, "Refused.") for e in taken[uploaded : uploaded + 5]])
    ledger.note(started_at=1.0, stopped_at=2.0, health="OK", reason="", version="1", health_since=1.0)
    Exports(made, ledger).write()
    ledger.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.close()


def look(made: Settings) -> None:
    """What commands and pages read of a ledger."""
    read_status(made, 100.0).to_dict()
    running_events(made, 100.0)
    with open_catalogue(Ledger.of(made)) as catalogue:
        for state in State:
            catalogue.page(Wanted(state), 50)
        catalogue.problems()
        catalogue.names()
        catalogue.by_camera()
        catalogue.activity(100.0)
    with Ledger.of(made).reading() as ledger:
        clip_of(ledger, "1.5-abcdef")
        list(ledger.unmirrored())
        list(ledger.uploaded_ids(Kind.SNAPSHOT))
        list(ledger.uploaded_objects("1", [], Kind.SNAPSHOT))
        ledger.entries(range(1, 70))
        ledger.due(State.PENDING, 100.0, 99)
    with LiveLedger(made.ledger_dir / "ledger.db").reading() as live:
        live.of_event("1.5-abcdef")


def spoil(path: Path, chance: random.Random, whole: bytes) -> str:
    """Write the file with some harm done to it; returns which."""
    content = bytearray(whole)
    kind = chance.choice(["flip", "flip", "flip", "cut", "zeros", "page", "head"])
    place = chance.randrange(len(content))
    if kind == "flip":
        for _ in range(chance.choice([1, 8, 64])):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del content[place:]
    elif kind == "zeros":
        content[place : place + 512] = bytes(len(content[place : place + 512]))
    elif kind == "page":
        start = place // 4096 * 4096
        content[start : start + 4096] = chance.randbytes(4096)[: len(content) - start]
    else:
        content[chance.randrange(100)] = chance.randrange(256)
    path.write_bytes(content)
    return f"{kind} at {place}"


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_ledger_is_a_ledger_error_or_none(seed: int, tmp_path: Path) -> None:
    """Bits, pages and lengths of it are changed at random: each look succeeds, or says in one sentence what is wrong."""
    made = settings(tmp_path / "state")
    fill(made)
    path = made.ledger_dir / "ledger.db"
    whole = path.read_bytes()
    chance = random.Random(seed)  # noqa: S311
    errors = 0
    for _ in range(60):
        for left in path.parent.glob("ledger.db*"):
            left.unlink()
        harm = spoil(path, chance, whole)
        said = None
        try:
            look(made)
        except LedgerError as error:
            said = str(error)
        except Exception as error:
            raise AssertionError(f"seed {seed}, {harm}") from error
        errors += said is not None
        assert "\n" not in (said or "")
    assert errors > 5


@pytest.mark.parametrize("seed", range(4))
def test_the_service_starts_on_a_damaged_ledger_or_says_why_not(seed: int, tmp_path: Path) -> None:
    """What SQLite calls damaged is set aside, and the state files bring back what S3 has."""
    made = settings(tmp_path / "state")
    fill(made)
    path = made.ledger_dir / "ledger.db"
    whole = path.read_bytes()
    chance = random.Random(seed)  # noqa: S311
    started = set_aside = 0
    for _ in range(40):
        for left in path.parent.glob("ledger.db*"):
            left.unlink()
        harm = spoil(path, chance, whole)
        ledger = Ledger.of(made)
        ledger.suspect()  # as a service that met the damage leaves it
        try:
            ledger.open(may_move=True)
            with ledger.in_words():
                Exports(made, ledger).import_into_ledger(100.0)
            assert ledger.counts()[State.UPLOADED] >= 30 or ledger.damaged_path is None, harm
            started += 1
            set_aside += ledger.damaged_path is not None
        except LedgerError:
            pass
        except Exception as error:
            raise AssertionError(f"seed {seed}, {harm}") from error
        finally:
            ledger.close()
    assert started > 30
    assert set_aside > 5


def test_an_error_of_the_programs_own_is_not_called_damage(tmp_path: Path) -> None:
    """Where the file is whole, it is a fault of ours, and is seen as one."""
    made = settings(tmp_path / "state")
    fill(made)
    for error in (TypeError("ours"), ValueError("ours")):
        with pytest.raises(type(error), match="ours"), Ledger.of(made).reading():
            raise error


FOREIGN = "CREATE TABLE song (title TEXT); INSERT INTO song VALUES ('x');"
FILES = {
    "missing": None,
    "empty": b"",
    "text": b"not a ledger\n" * 999,
    "zeros": bytes(65536),
    "head only": b"SQLite format 3\0",
    "foreign": FOREIGN,
    "foreign of our version": FOREIGN + "PRAGMA user_version = 5;",
    "no tables": "PRAGMA user_version = 5;",
    "some tables": "CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT; PRAGMA user_version = 5;",
    "newer": FOREIGN + "PRAGMA user_version = 99;",
    "negative version": FOREIGN + "PRAGMA user_version = -7;",
}


def write(path: Path, content: bytes | str | None) -> None:
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript(content)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", ["status", "retry-failed", "verify", "restore", "doctor"])
def test_every_command_says_in_a_sentence_what_is_wrong(name: str, command: str, tmp_path: Path) -> None:
    """None ends with a traceback, whatever is in the ledger's place."""
    made = settings(tmp_path / "state")
    write(made.ledger_dir / "ledger.db", FILES[name])
    environment = {
        "S3_STATE_DIR": str(made.ledger_dir), "S3_BUCKET": "bucket", "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s",
        "S3_ENDPOINT_URL": "http://127.0.0.1:9", "FRIGATE_DB_PATH": str(tmp_path / "f.db"), "FRIGATE_CLIPS_DIR": str(tmp_path),
    }  # fmt: skip
    done = CliRunner().invoke(app, [command], env=environment)
    assert isinstance(done.exception, SystemExit | None), done.exc_info
    assert done.exit_code in {0, 1, 2}
    if command in {"status", "verify"}:
        assert done.exit_code == 2
        assert "ledger" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["missing", "empty", "text", "zeros", "no tables", "some tables"])
def test_what_is_no_ledger_any_more_is_made_anew_from_the_state_files(name: str, tmp_path: Path) -> None:
    """An empty file is like none, and a damaged one is kept aside."""
    made = settings(tmp_path / "state")
    fill(made)
    path = made.ledger_dir / "ledger.db"
    path.unlink()
    write(path, FILES[name])
    ledger = Ledger.of(made)
    ledger.open(may_move=True)
    assert ledger.is_new
    assert (ledger.damaged_path is not None) == (name in {"text", "zeros", "some tables"})
    assert Exports(made, ledger).import_into_ledger(100.0) == 35
    assert ledger.counts()[State.UPLOADED] == 30
    ledger.close()


@pytest.mark.parametrize("name", ["foreign", "foreign of our version", "negative version", "newer"])
def test_another_programs_database_is_left_alone(name: str, tmp_path: Path) -> None:
    """It is not ours to rename."""
    made = settings(tmp_path / "state")
    path = made.ledger_dir / "ledger.db"
    write(path, FILES[name])
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"another program|newer version"):
            Ledger.of(made).open()
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["ledger.db"]


def test_a_ledger_older_than_its_state_files_takes_over_what_it_lacks(tmp_path: Path) -> None:
    """Its -wal was gone, or a backup came back: what S3 has is not sent again, and what waits for repair still waits."""
    made = settings(tmp_path / "state")
    fill(made, count=60, uploaded=10)
    path = made.ledger_dir / "ledger.db"
    backup = path.read_bytes()
    ledger = Ledger.of(made)
    ledger.open()
    later = ledger.record([entry(n) for n in range(100, 120)], 1.0)
    rest = ledger.due(State.PENDING, 100.0, 99)
    outcomes = [Outcome(e, State.UPLOADED, 0, 0, 0.0, None, 9, "5" * 64, "e", 60.0) for e in rest]
    ledger.settle(outcomes)
    Exports(made, ledger).add(outcomes)
    ledger.close()
    path.write_bytes(backup)
    for ending in ("-wal", "-shm"):
        path.with_name(f"ledger.db{ending}").unlink(missing_ok=True)

    ledger = Ledger.of(made)
    ledger.open()
    assert not ledger.is_new
    ledger.requeue([1])  # verify found it missing, just now
    assert Exports(made, ledger).import_into_ledger(200.0) == len(rest)
    assert {e.row for e in ledger.due(State.PENDING, 100.0, 99)} == {1}
    assert ledger.counts()[State.UPLOADED] == 9 + len(rest)
    assert ledger.record([entry(n) for n in range(100, 120)], 1.0) == []
    assert len(later) == 20
    ledger.close()


def test_a_ledger_in_step_with_its_state_files_imports_nothing(tmp_path: Path) -> None:
    """And a line that only a torn or hostile file has is no event."""
    made = settings(tmp_path / "state")
    fill(made)
    ledger = Ledger.of(made)
    ledger.open()
    assert Exports(made, ledger).import_into_ledger(100.0) == 0
    with (made.ledger_dir / ".s3_uploaded_events").open("ab") as file:
        file.write(b"\0\0\0\n\x1b[2J\n" + b"9" * 5000 + b"\n \nnan-abcdef\n1e999-abcdef\n900.5-abcdef\nlast")
    assert Exports(made, ledger).import_into_ledger(100.0) == 3
    found = ledger.connection.execute("SELECT event_id, happened_at FROM object WHERE happened_at = 100.0 OR event_id GLOB '900*'")  # fmt: skip
    assert dict(found) == {"nan-abcdef": 100.0, "1e999-abcdef": 100.0, "900.5-abcdef": 900.5}
    ledger.close()


def test_an_event_in_the_list_of_another_kind_is_of_that_kind(tmp_path: Path) -> None:
    """S3_ARTIFACTS changed while the ledger was lost: clean copies are no snapshots."""
    before = settings(tmp_path / "state", S3_ARTIFACTS="clean")
    after = settings(tmp_path / "state")
    ledger = Ledger.of(before)
    ledger.open()
    taken = ledger.record([entry(n, Kind.CLEAN) for n in range(3)], 1.0)
    ledger.settle([Outcome(e, State.UPLOADED, 0, 0, 0.0, None, 9, None, "e", 60.0) for e in taken])
    Exports(before, ledger).write()
    ledger.close()
    ledger.path.unlink()
    ledger = Ledger.of(after)
    ledger.open()
    assert Exports(after, ledger).import_into_ledger(1.0) == 3
    assert ledger.counts()[State.UPLOADED] == 3
    assert ledger.count_uploaded_ids(Kind.SNAPSHOT) == 0
    ledger.close()


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_the_state_is_its_owners_alone(umask: int, tmp_path: Path) -> None:
    """Whatever the umask; what older versions made is tightened, and a folder that others use keeps its mode."""
    made = settings(tmp_path / "state")
    before = os.umask(umask)
    try:
        lock = StateLock(made.ledger_dir)
        lock.take()
        ledger = Ledger.of(made)
        ledger.open()
        exports = Exports(made, ledger)
        exports.write()
        StateFiles(made.text_state_dir).append_uploaded(["1.5-abcdef"])
        ledger.note(a=1)
        assert mode(made.ledger_dir) == "0o700"
        names = {"ledger.db", "ledger.db-wal", "ledger.db-shm", "service.lock", ".s3_uploaded_events", ".s3_failed_events", ".s3_mirror_about"}  # fmt: skip
        assert {path.name: mode(path) for path in made.ledger_dir.iterdir()} == dict.fromkeys(names, "0o600")
        for path in made.ledger_dir.iterdir():
            path.chmod(0o644)
        made.ledger_dir.chmod(0o755)
        ledger.close()
        lock.release()
        lock.take()
        ledger.open()
        exports.import_into_ledger(1.0)
        assert mode(made.ledger_dir) == "0o700"
        assert {mode(path) for path in made.ledger_dir.iterdir()} == {"0o600"}
        ledger.close()
        lock.release()
        (made.ledger_dir / "frigate.db").touch()
        made.ledger_dir.chmod(0o755)
        ledger.open()
        assert mode(made.ledger_dir) == "0o755"
        ledger.close()
    finally:
        os.umask(before)


def test_a_folder_in_frigates_own_keeps_its_mode(tmp_path: Path) -> None:
    """Only the files are ours there."""
    cache = tmp_path / "clips" / "cache"
    cache.mkdir(parents=True)
    cache.chmod(0o755)
    files = StateFiles(cache)
    files.append_uploaded(["1.5-abcdef"])
    files.write_failed([])
    assert mode(cache) == "0o755"
    assert {mode(path) for path in cache.iterdir()} == {"0o600"}


@pytest.mark.parametrize("left", ["1.5-abcdef\n2.5-ab", "2.5-ab", "", "1.5-abcdef\n", "1.5-abcdef\n\0\0\0\0"])
def test_a_torn_last_line_never_becomes_part_of_the_next_id(left: str, tmp_path: Path) -> None:
    """Nor does it count as an id afterwards: the ledger knows it."""
    files = StateFiles(tmp_path)
    files.uploaded_path.write_text(left)
    files.append_uploaded(["3.5-abcdef", "4.5-abcdef"])
    files.append_uploaded(["5.5-abcdef"])
    first = ["1.5-abcdef"] if "\n" in left else []
    assert files.uploaded_path.read_text().splitlines() == [*first, "3.5-abcdef", "4.5-abcdef", "5.5-abcdef"]
    assert files.count_uploaded() == len(first) + 3


@pytest.mark.parametrize(
    "text", ["[", "[1]", "7", '{"a": 1e999}', "[" * 9999, "\xff", '{"a": {"attempts": 1e400, "error": [1]}}']
)
def test_a_map_of_failures_that_is_none_is_left_out(text: str, tmp_path: Path) -> None:
    """The rest is imported all the same."""
    made = settings(tmp_path)
    StateFiles(tmp_path).write_uploaded(["1.5-abcdef"])
    (tmp_path / ".s3_failed_events").write_text(text, encoding="latin-1")
    ledger = Ledger.of(made)
    ledger.open()
    Exports(made, ledger).import_into_ledger(1.0)
    assert ledger.counts()[State.UPLOADED] == 1
    ledger.close()
