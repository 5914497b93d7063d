"""The demo as a command: it ends by itself with a verdict, and says what went wrong."""

from __future__ import annotations

import re
import sys
import threading
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from frigate_s3_mirror.demo.__main__ import app
from frigate_s3_mirror.demo.stage import DemoError, Plan, perform

# Mirrors by looking ten times a second, and keeps a ledger with the columns that the demo reads.
STAND_IN = """
import os, signal, sqlite3, time
from pathlib import Path
import obstore
from obstore.store import S3Store

ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
env = os.environ
store = S3Store(
    env["S3_BUCKET"], endpoint=env["S3_ENDPOINT_URL"], access_key_id=env["S3_ACCESS_KEY"],
    secret_access_key=env["S3_SECRET_KEY"], region="us-east-1", client_options={"allow_http": True},
)
folder = Path(env["FRIGATE_DB_PATH"]).parent / ".s3-mirror"
folder.mkdir()
ledger = sqlite3.connect(folder / "ledger.db", isolation_level=None)
ledger.execute("CREATE TABLE object (event_id, kind, key, state, uploaded_at)")
frigate = sqlite3.connect(f"file:{env['FRIGATE_DB_PATH']}?mode=ro", uri=True)
done = set()
while not ended:
    rows = frigate.execute(
        "SELECT id, camera, start_time FROM event WHERE end_time IS NOT NULL"
    ).fetchall()
    for event_id, camera, start in rows:
        path = Path(env["FRIGATE_CLIPS_DIR"]) / f"{camera}-{event_id}.jpg"
        if event_id in done or not path.exists():
            continue
        date, stamp = (time.strftime(form, time.localtime(start)) for form in ("%Y-%m-%d", "%Y%m%d_%H%M%S"))
        key = f"{env['S3_PATH_PREFIX']}/{camera}/{date}/{event_id}-{stamp}.jpg"
        obstore.put(store, key, path.read_bytes() + CHANGE, use_multipart=False)
        row = (event_id, key, time.time())
        ledger.execute("INSERT INTO object VALUES (?, 'snapshot', ?, 'uploaded', ?)", row)
        done.add(event_id)
    time.sleep(0.1)
"""


def run_once(root: Path, program: str) -> tuple[list[str], str]:
    """The problems and the output of a short demo in which `program` is the mirror."""
    stream = StringIO()
    plan = Plan("0.17", events=3, rate=20.0, once=True, seed=1)
    command = (sys.executable, "-c", program)
    problems = perform(root, plan, threading.Event(), Console(file=stream, width=80), command)
    return problems, stream.getvalue()


def test_a_demo_with_a_faithful_mirror_has_no_problems(tmp_path: Path) -> None:
    """Once every snapshot is in the bucket byte for byte, the demo ends by itself and is content."""
    problems, output = run_once(tmp_path, STAND_IN.replace("CHANGE", "b''"))
    assert problems == []
    assert "identical, byte for byte" in output
    assert output.count("uploaded camera=") == 3


def test_a_changed_byte_is_a_problem(tmp_path: Path) -> None:
    """An object that is not bit for bit Frigate's file is named."""
    problems, _ = run_once(tmp_path, STAND_IN.replace("CHANGE", "b'!'"))
    assert sum(problem.startswith("differs from Frigate's file: frigate/snapshots/") for problem in problems) == 3


def test_a_mirror_that_ends_by_itself_is_told_with_its_log(tmp_path: Path) -> None:
    """The demo does not wait for a mirror that is gone: it shows the last lines of its log."""
    with pytest.raises(DemoError, match=r"(?s)exit code 78.*a bad day"):
        run_once(tmp_path, "print('a bad day', flush=True); raise SystemExit(78)")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    """`--keep` refuses a folder that holds anything, before anything starts."""
    (tmp_path / "mine.txt").write_text("mine")
    result = CliRunner().invoke(app, ["--keep", str(tmp_path), "--once"])
    assert result.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_help_names_every_option() -> None:
    """`--help` is where a user looks first."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", CliRunner().invoke(app, ["--help"]).output)
    assert all(option in text for option in ("--events", "--once", "--rate", "--version", "--keep", "--seed"))
