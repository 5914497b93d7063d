"""Ten poisoned entries among twenty good ones: every command and page goes on with the good ones."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeMirror, RunningMirror
from frigate_s3_mirror import home_assistant
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.status import read_status
from poisoned import POISONS, poison
from servers import Target
from status_pages import address_of, ask

GOOD = 20
PREFIX = "frigate/snapshots"


def mirrored(frigate: SimulatedFrigate, mirror: RunningMirror) -> tuple[Path, list[SimulatedEvent]]:
    """A ledger with thirty uploads, and the events of the twenty that stay as they are."""
    events = []
    for number in range(GOOD + len(POISONS)):
        event = frigate.begin_event(camera="yard", start_time=time.time() - 3600 - 60 * number)
        events.append(frigate.complete_row(frigate.write_files(event), event.start_time + 20))
    done = mirror.command("run", "--once")
    assert done.returncode == 0, done.stdout
    ledger = frigate.db_path.parent / ".s3-mirror" / "ledger.db"
    return ledger, events


def spoil(ledger: Path, events: Sequence[SimulatedEvent], state: str = "uploaded") -> list[SimulatedEvent]:
    """Poison every third of them, in this state; returns the good ones."""
    with closing(sqlite3.connect(ledger)) as connection, connection:
        ids = [row for (row,) in connection.execute("SELECT id FROM object ORDER BY id")]
        chosen = ids[1::3]
        marks = ",".join("?" * len(chosen))
        connection.execute(f"UPDATE object SET state = ? WHERE id IN ({marks})", (state, *chosen))  # noqa: S608
    bad = set(poison(ledger, chosen).values())
    return [event for event in events if event.id not in bad]


def strictly(said: str) -> Any:
    """JSON, in which no number is infinite or none."""

    def refuse(word: str) -> float:
        raise AssertionError(word)

    return json.loads(said, parse_constant=refuse)


def is_untroubled(said: str) -> bool:
    return "Traceback" not in said


@pytest.mark.parametrize("state", ["uploaded", "pending", "failed", "expired", "absent", "awaited"])
def test_every_command_goes_on_with_the_good_ones(
    state: str, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    mirror = mirror_for(frigate, rclone)
    ledger, events = mirrored(frigate, mirror)
    good = spoil(ledger, events, state)
    assert len(good) == GOOD
    for arguments in (
        ("status",),
        ("status", "--json"),
        ("verify", "--json"),
        ("restore", "--to", str(tmp_path / "restored")),
        ("retry-failed",),
        ("run", "--once"),
        ("verify", "--json", "--deep", "--repair"),
        ("run", "--once"),
        ("rebuild",),
    ):
        done = mirror.command(*arguments)
        assert is_untroubled(done.stdout + done.stderr), (arguments, done.stdout, done.stderr)
        assert done.returncode in {0, 1} or arguments[0] == "status", (arguments, done.stdout, done.stderr)
        if arguments == ("status", "--json"):
            assert strictly(done.stdout)["counts"]["uploaded"] >= GOOD
        if arguments[:2] == ("verify", "--json"):
            found = strictly(done.stdout)
            assert found["checked"] >= GOOD
            assert not {event.id for event in good} & {entry["event_id"] for entry in found["differences"]}
    restored = {path.name for path in (tmp_path / "restored").rglob("*.jpg")}
    assert all(any(event.id in name for name in restored) for event in good)
    kept = rclone.objects()
    assert all(any(event.id in key for key in kept) for event in events)


@pytest.mark.parametrize("state", ["uploaded", "pending", "failed", "expired"])
def test_every_page_shows_the_good_ones(
    state: str, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """And the service goes on mirroring; fleet, MQTT and metrics say how many there are."""
    mirror = mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0")
    ledger, events = mirrored(frigate, mirror)
    good = spoil(ledger, events, state)
    environ = dict(mirror.environment)
    said = home_assistant.state(read_status(load(environ).settings, time.time()), 0)
    json.dumps(said, allow_nan=False)
    process = mirror.start()
    address = address_of(mirror)
    bad = [event for event in events if event not in good]
    pages = ["/", "/gallery", "/problems", "/metrics", *(f"/event/{event.id}" for event in [*good[:2], *bad])]
    for page in pages:
        answer = ask(address, page)
        assert answer.status in ({200} if page.split("/")[-1] not in {e.id for e in bad} else {200, 404}), (
            page,
            answer.text,
        )
    gallery = ask(address, "/gallery").text + ask(address, "/gallery?state=failed").text
    assert sum(event.id in gallery for event in good) >= GOOD - 6  # a page of it
    status = ask(address, "/api/status")
    assert status.status == 200
    assert strictly(status.text)["counts"]["uploaded"] >= GOOD
    live = frigate.end_event(frigate.begin_event(camera="yard"))
    mirror.wait_for(lambda: any(live.id in key for key in rclone.objects()), 60)
    fleet = mirror.command("fleet", "--json")
    assert is_untroubled(fleet.stdout + fleet.stderr)
    assert mirror.stop(process) == 0
    assert is_untroubled(mirror.log()), mirror.log()
