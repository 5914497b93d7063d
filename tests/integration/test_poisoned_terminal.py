"""What comes from outside (cameras, labels, S3's messages, heartbeats) steers no terminal and forges no log line."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MakeMirror, RunningMirror, WatchedTarget, ended
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import FILE_NAME
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import logger, set_up
from recording_proxy import Fault, FaultKind

POISON = "\x1b]0;owned\x07\x1b[2J\x9b31m[/bold][link=http://evil]\r\n[2026-11-25 00:00:00] frigate_s3_mirror INFO : forged\u2028\u202e"
RICH = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What rich itself sends: colours, and the cursor for progress."""


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("yard",)) as simulated:
        yield simulated


def in_a_terminal(mirror: RunningMirror, *arguments: str) -> str:
    """All that a terminal gets of a command, stdout and stderr alike."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "frigate_s3_mirror", *arguments]
    environment = {**mirror.environment, "TERM": "xterm-256color", "COLUMNS": "200"}
    process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                said += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    process.wait(10)
    return said.decode("utf-8", "replace")


def is_harmless(said: str) -> bool:
    """Nothing but printable text, line ends, and rich's own colours; nothing of the poison's."""
    assert "\x1b[2J" not in said
    assert "\x1b]0;owned" not in said
    plain = RICH.sub("", said.replace("\r\n", "\n"))
    odd = {letter for letter in plain if not letter.isprintable() and letter not in "\n\r"}
    assert odd == set(), plain
    assert not re.search(r"^\[2026-11-25 00:00:00\]", plain, re.MULTILINE)
    return True


def poison(mirror: RunningMirror, frigate: SimulatedFrigate) -> None:
    """A ledger as one that has seen all of it."""
    ledger = Ledger(frigate.db_path.parent / ".s3-mirror" / FILE_NAME)
    ledger.open()
    entries = []
    for number, state in enumerate((State.PENDING, State.FAILED, State.EXPIRED, State.UPLOADED)):
        event = Event(
            f"{time.time() - number}-ab{POISON}",
            f"yard{POISON}",
            f"car{POISON}",
            POISON,
            1.0,
            2.0,
            True,
            (POISON,),
            None,
            False,
        )
        entries.append(
            (
                Entry(0, event, Kind.SNAPSHOT, f"{POISON}.jpg", f"frigate/{POISON}.jpg", State.PENDING, time.time()),
                state,
            )
        )
    taken = ledger.record([entry for entry, _ in entries], time.time())
    at = time.time()
    ledger.settle([
        Outcome(entry, state, 1, 1, at + 1000, f"S3 says {POISON}", uploaded_at=at if state is State.UPLOADED else None, size_bytes=1, sha256="5" * 64)
        for entry, (_, state) in zip(taken, entries, strict=True)
    ])  # fmt: skip
    ledger.note(version=POISON, started_at=at, stopped_at=at)
    ledger.close()


@pytest.mark.parametrize("arguments", [
    ("status",), ("status", "--json"), ("config",), ("verify",), ("verify", "--json"), ("fleet",), ("fleet", "--json"), ("restore",),
    ("retry-failed", POISON), ("doctor",), ("run", "--once"),
])  # fmt: skip
def test_no_command_lets_it_through(
    arguments: tuple[str, ...],
    rclone_proxy: WatchedTarget,
    frigate: SimulatedFrigate,
    mirror_for: MakeMirror,
    tmp_path: Path,
) -> None:
    """In a real terminal: ledger, heartbeat, a setting and S3's error message are poisoned."""
    ended(frigate, 1)
    mirror = mirror_for(frigate, rclone_proxy, FRIGATE_UI_URL="http://frigate.lan/[/bold][link=x]")
    poison(mirror, frigate)
    client = rclone_proxy.client()
    beat = {"site": POISON, "version": POISON, "at": time.time(), "health": "DEGRADED", "reason": POISON}
    client.put_object(
        Bucket=rclone_proxy.bucket, Key="frigate/snapshots/.mirror/x.json", Body=json.dumps(beat).encode()
    )
    client.close()
    rclone_proxy.proxy.inject(
        Fault(FaultKind.ANSWER, status=403, code="AccessDenied</Code><Message>\x1b]0;owned\x07[/bold]</Message><Code>")
    )
    more = ("--to", str(tmp_path / "restored")) if arguments == ("restore",) else ()
    said = in_a_terminal(mirror, *arguments, *more)
    assert is_harmless(said)
    assert said.strip()
    assert "Traceback" not in said
    if arguments == ("status",):
        assert "\\x1b]0;owned\\x07" in RICH.sub("", said)
        assert "[link=http://evil]" in RICH.sub("", said)


def test_a_log_line_is_one_line_whatever_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback keeps its lines, and what was raised is one of them; JSON is JSON and as harmless."""
    handlers, level = logger().handlers[:], logger().level
    try:
        for as_json in (False, True):
            set_up("info", as_json=as_json)
            logger().warning("S3 upload done camera=%s label=%s", POISON, f"car{POISON}\ud800")
            try:
                _fail()
            except ExceptionGroup:
                logger().exception("It failed in an unforeseen way event=%s", POISON)
            logger().handlers[0].flush()
            said = capsys.readouterr().out
            assert is_harmless(said)
            lines = said.splitlines()
            if as_json:
                first, second = (json.loads(line) for line in lines)
                assert POISON in first["message"]
                assert "Traceback" in second["exception"]
            else:
                assert sum(bool(re.match(r"\[\d{4}-", line)) for line in lines) == 2
                assert sum(line.startswith("ValueError: ") for line in lines) == 1
                assert sum("RuntimeError: \\x1b]0;owned" in line for line in lines) == 1
    finally:
        logger().handlers[:] = handlers
        logger().setLevel(level)


def _fail() -> None:
    """As a library might, with a cause."""
    try:
        float("1" + POISON)
    except ValueError as error:
        raise ExceptionGroup(POISON, [RuntimeError(POISON)]) from error
