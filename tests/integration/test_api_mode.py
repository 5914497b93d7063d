"""FRIGATE_SOURCE=api: the whole mirror without Frigate's disk, against its API as it is, a real bucket and a real broker."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import statistics
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker import PROGRAM, home_of, mosquitto
from conftest import CAMERAS, MakeMirror, RunningMirror, WatchedTarget, started
from frigate_messages import TOPIC, message
from frigate_s3_mirror.demo.progress import expected_key
from frigate_s3_mirror.demo.simulated_api import PASSWORD, USER, FrigateHttp
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from oracles import PREFIX
from servers import Target

pytestmark = pytest.mark.usefixtures("utc")
"""Keys bear dates."""
FULL = os.environ.get("API_MODE") == "full"
QUIET_SECONDS, FAST_EVENTS = (60.0, 20) if FULL else (6.0, 5)
"""API_MODE=full measures what docs/api-mode.md says."""


@pytest.fixture
def api(frigate: SimulatedFrigate) -> Iterator[FrigateHttp]:
    with FrigateHttp("open", frigate) as server:
        yield server


@pytest.fixture
def api_mirror(tmp_path: Path, mirror_for: MakeMirror) -> Callable[..., RunningMirror]:
    """Makes mirrors that know Frigate's address, and a folder of their own."""

    def make(frigate: SimulatedFrigate, api: FrigateHttp, target: Target, **more: str) -> RunningMirror:
        settings = {
            "FRIGATE_SOURCE": "api", "FRIGATE_URL": api.url, "S3_STATE_DIR": str(tmp_path / "state"), "S3_SCAN_INTERVAL": "",
            "FRIGATE_DB_PATH": "/nowhere/frigate.db", "FRIGATE_CLIPS_DIR": "/nowhere/clips",
        }  # fmt: skip
        return mirror_for(frigate, target, **{**settings, **more})

    return make


MakeApiMirror = Callable[..., RunningMirror]


def finished(frigate: SimulatedFrigate, count: int) -> list[SimulatedEvent]:
    return [
        frigate.end_event(frigate.begin_event(camera=CAMERAS[n % 2], label=("person", "☃ snow man")[n % 2]))
        for n in range(count)
    ]


def pictures_of(events: list[SimulatedEvent]) -> dict[str, bytes]:
    return {expected_key(e, PREFIX): e.snapshot_path.read_bytes() for e in events if e.snapshot_path is not None}


def assert_mirrored(target: Target, wanted: dict[str, bytes]) -> None:
    got = target.objects()
    assert set(got) == set(wanted)
    assert all(got[key] == content for key, content in wanted.items())


def asked(api: FrigateHttp, part: str) -> int:
    return sum(part in path for _, path in api.asked)


@pytest.mark.parametrize("version", ["0.14", "0.16", "0.17", "0.18"])
def test_all_is_mirrored_under_the_keys_of_the_disk(
    version: str, s3: Target, tmp_path: Path, api_mirror: MakeApiMirror, mirror_for: MakeMirror
) -> None:
    """Ended, manual, fileless and running events, whatever the version; afterwards the disk's own mirror has nothing to do."""
    with (
        SimulatedFrigate(tmp_path / "frigate", version=version, cameras=CAMERAS) as frigate,
        FrigateHttp("open", frigate) as api,
    ):
        events = [*finished(frigate, 6), frigate.manual_event(duration=30), frigate.bulk(1)[0]]
        frigate.no_snapshot_event()
        frigate.killed_event()
        frigate.begin_event()
        done = api_mirror(frigate, api, s3).command("run", "--once")
        assert done.returncode == 0, done.stdout + done.stderr
        assert_mirrored(s3, pictures_of(events))
        on_disk = mirror_for(frigate, s3, S3_STATE_DIR=str(tmp_path / "state")).command("run", "--once")
        assert on_disk.returncode == 0
        assert "upload done" not in on_disk.stdout


def test_all_artifacts(rclone: Target, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror) -> None:
    """Clean copy, thumbnail and metadata lie beside the snapshot, and say what the disk's mirror says."""
    event = frigate.end_event(frigate.begin_event(sub_label="Ann"))
    mirror = api_mirror(frigate, api, rclone, S3_ARTIFACTS="snapshot,clean,thumbnail,metadata")
    assert mirror.command("run", "--once").returncode == 0
    stem = expected_key(event, PREFIX).rsplit(".", 1)[0]
    objects = rclone.objects()
    assert {key.removeprefix(stem) for key in objects} == {".jpg", "-clean.webp", "-thumb.webp", ".json"}
    told = json.loads(objects[f"{stem}.json"])
    assert (told["sub_label"], told["zones"], told["score"] > 0.5) == ("Ann", ["yard"], True)


def test_events_are_mirrored_as_they_end(
    watched_s3: WatchedTarget, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """Long ones, those that begin and end between two looks, manual ones with an end ahead, endless ones; none goes twice."""
    mirror = started(api_mirror(frigate, api, watched_s3))
    long_one = frigate.begin_event()
    events = [*finished(frigate, 5), frigate.manual_event(duration=60), frigate.manual_event(duration=None)]
    mirror.wait_for(lambda: len(watched_s3.objects()) == 7)
    events.append(frigate.end_event(long_one))
    mirror.wait_for(lambda: len(watched_s3.objects()) == 8)
    assert mirror.stop(mirror.processes[-1]) == 0
    assert_mirrored(watched_s3, pictures_of(events))
    assert {n for key, n in watched_s3.stored().items() if ".mirror/" not in key} == {1}
    assert "Traceback" not in mirror.log()
    assert "Failed: 0" in mirror.log()


@pytest.mark.parametrize("kind", ["api", "audio"])
def test_what_has_its_file_at_once_is_sent_while_it_runs(
    kind: str, rclone: Target, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """Glass breaks, and the plug is pulled before the sound is over: the picture is in the bucket already."""
    mirror = started(api_mirror(frigate, api, rclone))
    event = frigate.manual_event(duration=None, label="glass")
    with contextlib.closing(sqlite3.connect(frigate.db_path)) as connection, connection:
        connection.execute("UPDATE event SET data = json_set(data, '$.type', ?) WHERE id = ?", (kind, event.id))
    mirror.wait_for(lambda: len(rclone.objects()) == 1)
    assert_mirrored(rclone, pictures_of([event]))


def test_a_row_that_frigate_itself_stumbles_over_stops_no_other(
    rclone: Target, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """A NaN in one row makes Frigate refuse the page; around it all are listed, also those that come later."""
    events = finished(frigate, 10)
    odd = frigate.end_event(frigate.begin_event())
    with contextlib.closing(sqlite3.connect(frigate.db_path)) as connection, connection:
        connection.execute("UPDATE event SET data = ? WHERE id = ?", ('{"type": "object", "score": NaN}', odd.id))
    events += finished(frigate, 10)
    mirror = started(api_mirror(frigate, api, rclone))
    mirror.wait_for(lambda: len(rclone.objects()) == 20, 60)
    events += finished(frigate, 2)
    mirror.wait_for(lambda: len(rclone.objects()) == 22)
    assert_mirrored(rclone, pictures_of(events))
    assert mirror.log().count("Frigate cannot tell of an event that began about") == 1
    assert "starting or stopped" not in mirror.log()
    with contextlib.closing(sqlite3.connect(frigate.db_path)) as connection, connection:
        connection.execute("UPDATE event SET data = '{}' WHERE id = ?", (odd.id,))
    mirror.stop(mirror.processes[-1])
    mirror.start()
    mirror.wait_for(lambda: len(rclone.objects()) == 23, 60)


def test_a_kill_and_a_restart_repeat_nothing(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """What ended meanwhile is found, and what was there is not sent again."""
    mirror = started(api_mirror(frigate, api, rclone_proxy))
    running = frigate.begin_event()
    events = finished(frigate, 4)
    mirror.wait_for(lambda: mirror.log().count("S3 upload done") == 4)
    mirror.stop(mirror.processes[-1], signal.SIGKILL)
    events += [*finished(frigate, 3), frigate.end_event(running)]
    mirror.start()
    mirror.wait_for(lambda: len(rclone_proxy.objects()) == 8)
    mirror.stop(mirror.processes[-1])
    assert_mirrored(rclone_proxy, pictures_of(events))
    assert {n for key, n in rclone_proxy.stored().items() if ".mirror/" not in key} == {1}


def test_frigate_away_and_back(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """DOWN with a sentence, told once; back again, all that happened meanwhile is in the bucket, old events, too."""
    mirror = started(api_mirror(frigate, api, rclone_proxy))
    running = frigate.begin_event()
    mirror.wait_for(lambda: asked(api, "in_progress=1") > 3)
    api.down()
    mirror.wait_for(lambda: "does not answer (Connection refused); check FRIGATE_URL. Trying again." in mirror.log())
    mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["health"] == "DOWN")
    assert "check FRIGATE_URL" in json.loads(mirror.command("status", "--json").stdout)["reason"]
    events = [frigate.end_event(running), *finished(frigate, 3), frigate.bulk(1, days=0.5)[0]]
    time.sleep(8)
    assert mirror.log().count("Connection refused") == 2  # once as it happens, once as the health's reason
    api.up()
    mirror.wait_for(lambda: len(rclone_proxy.objects()) == 5, 60)
    mirror.wait_for(lambda: "Frigate's API answers again" in mirror.log())
    mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["health"] == "OK")
    assert_mirrored(rclone_proxy, pictures_of(events))
    assert {n for key, n in rclone_proxy.stored().items() if ".mirror/" not in key} == {1}
    assert "Traceback" not in mirror.log()


def test_frigate_is_not_there_at_the_start(
    rclone: Target, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """The mirror waits for it; `run --once` says what is wrong and exits with 1."""
    events = finished(frigate, 2)
    api.down()
    mirror = api_mirror(frigate, api, rclone)
    once = mirror.command("run", "--once")
    assert once.returncode == 1
    assert "check FRIGATE_URL" in once.stdout
    mirror.start()
    mirror.wait_for(lambda: "Trying again" in mirror.log())
    api.up()
    mirror.wait_for(lambda: len(rclone.objects()) == 2)
    assert_mirrored(rclone, pictures_of(events))
    assert "Traceback" not in mirror.log() + once.stderr


def test_errors_are_no_answers(
    rclone: Target, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """500, 401 and 404 for the events, then 500 and 403 for the files: nothing counts as ended, gone or fileless."""
    mirror = started(api_mirror(frigate, api, rclone))
    running = frigate.begin_event()
    mirror.wait_for(lambda: _copy_of(mirror) == {running.id})
    for status, sentence in ((500, "status 500"), (401, "refuses us (status 401)"), (404, "is no Frigate")):
        api.faults = {"/api/": status}
        mirror.wait_for(lambda: sentence in mirror.log())  # noqa: B023
        assert _copy_of(mirror) == {running.id}
    assert "cannot tell of an event" not in mirror.log()  # none of its rows is odd
    api.faults = {"/clips/": 500}
    mirror.wait_for(lambda: "answers again" in mirror.log())
    event = frigate.end_event(running)
    mirror.wait_for(lambda: mirror.log().count("is starting or stopped (status 500). Trying again") == 1)
    api.faults = {"/clips/": 403}
    mirror.wait_for(lambda: "refuses us (status 403)" in mirror.log())
    api.faults = {}
    mirror.wait_for(lambda: len(rclone.objects()) == 1)
    assert_mirrored(rclone, pictures_of([event]))
    status = json.loads(mirror.command("status", "--json").stdout)
    assert (status["counts"]["expired"], status["counts"]["absent"], status["counts"]["failed"]) == (0, 0, 0)


def _copy_of(mirror: RunningMirror) -> set[str]:
    path = Path(mirror.environment["S3_STATE_DIR"]) / "frigate-copy.db"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return {row[0] for row in connection.execute("SELECT id FROM event")}
    finally:
        connection.close()


def test_a_slow_api_and_broken_downloads(
    rclone: Target, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """Files that break off are asked for again; a second for each answer delays, and no more."""
    api.break_after = 700_000
    mirror = started(api_mirror(frigate, api, rclone))
    api.delay = 1.0
    event = frigate.begin_event()
    event = frigate.complete_row(frigate.write_files(event, b"\xff\xd8" + bytes(900_000) + b"\xff\xd9"))
    mirror.wait_for(lambda: "broke off while it sent" in mirror.log(), 40)
    api.break_after, api.delay = None, 0.0
    mirror.wait_for(lambda: len(rclone.objects()) == 1, 60)
    assert_mirrored(rclone, pictures_of([event]))
    assert json.loads(mirror.command("status", "--json").stdout)["counts"]["failed"] == 0


def test_the_login_runs_out(rclone: Target, frigate: SimulatedFrigate, api_mirror: MakeApiMirror) -> None:
    """Port 8971: events, files and all; another login when Frigate takes the old one no longer."""
    with FrigateHttp("login", frigate) as api:
        mirror = started(api_mirror(frigate, api, rclone, FRIGATE_USER=USER, FRIGATE_PASSWORD=PASSWORD))
        events = finished(frigate, 1)
        mirror.wait_for(lambda: len(rclone.objects()) == 1)
        api.sessions += 1
        events += finished(frigate, 1)
        mirror.wait_for(lambda: len(rclone.objects()) == 2)
        assert_mirrored(rclone, pictures_of(events))
        assert PASSWORD not in mirror.log()
        assert "Trying again" not in mirror.log()


@pytest.mark.parametrize("limit", [False, True])
def test_a_refused_login_locks_nobody_out(
    limit: bool, rclone: Target, frigate: SimulatedFrigate, api_mirror: MakeApiMirror
) -> None:
    """Frigate counts failed logins by address, the owner's too: one try, a sentence for each kind, and then a pause."""
    with FrigateHttp("login", frigate) as api:
        if limit:
            api.faults = {"/api/login": 429}
        mirror = api_mirror(frigate, api, rclone, FRIGATE_USER=USER, FRIGATE_PASSWORD="wrong")
        mirror.start()
        mirror.wait_for(
            lambda: (
                "takes no login from this address for now" in mirror.log()
                if limit
                else "check FRIGATE_USER" in mirror.log()
            )
        )
        mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["health"] == "DOWN")
        asked_before = len(api.requests)
        mirror.wait_for(lambda: len(api.requests) > asked_before, 60)  # it goes on asking, now and then
        assert sum(method == "POST" for _, method, _ in api.requests) == 1


def test_events_of_a_camera_that_was_removed(
    rclone: Target, tmp_path: Path, api_mirror: MakeApiMirror, mirror_for: MakeMirror
) -> None:
    """From 0.17 on Frigate does not list them, though it has rows and files: their names tell. Strange files tell nothing."""
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=CAMERAS) as frigate:
        events = finished(frigate, 6)
        (frigate.clips_dir / "garage-1700000000.5-nobody.jpg").write_bytes(b"no row")
        frigate.cameras = CAMERAS[:1]
        with FrigateHttp("open", frigate) as api:
            mirror = api_mirror(frigate, api, rclone)
            done = mirror.command("run", "--once")
            assert done.returncode == 0, done.stdout
            assert_mirrored(rclone, pictures_of(events))
            assert "found 3 events that Frigate no longer lists" in done.stdout
            requests = len(api.requests)
            again = mirror.command("run", "--once")
            assert "no longer lists" not in again.stdout
            by_id = [path for _, _, path in api.requests[requests:] if path.startswith("/api/events/")]
            assert by_id == ["/api/events/1700000000.5-nobody"]
            assert json.loads(mirror.command("status", "--json").stdout)["proof"]["24 h"]["in_frigate"] == 6


def test_a_file_that_comes_late_or_never(
    rclone: Target, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """The row ended and nginx has no file: awaited; one comes, the other one never, which is no loss."""
    assert api.files is not None
    api.files.remembers = 2.0
    mirror = started(api_mirror(frigate, api, rclone))
    late, never = (frigate.complete_row(frigate.begin_event()) for _ in range(2))
    mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["counts"]["awaited"] == 2)
    late = frigate.write_files(late)
    mirror.wait_for(lambda: len(rclone.objects()) == 1, 60)
    assert_mirrored(rclone, pictures_of([late]))
    counts = json.loads(mirror.command("status", "--json").stdout)["counts"]
    assert (counts["awaited"], counts["expired"]) == (1, 0)
    assert never.snapshot_path is None


def test_an_event_that_the_user_deletes(
    rclone: Target, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """Before it ended: forgotten without a word. With a file seen and gone: told as lost."""
    assert api.files is not None
    api.files.remembers = 0.0
    mirror = started(api_mirror(frigate, api, rclone, S3_SPOOL_MAX="0"))
    event = frigate.begin_event()
    mirror.wait_for(lambda: _copy_of(mirror) == {event.id})
    frigate.delete_event(event)
    mirror.wait_for(lambda: _copy_of(mirror) == set())
    mirror.stop(mirror.processes[-1])
    good = mirror.environment["S3_ENDPOINT_URL"]
    mirror.environment["S3_ENDPOINT_URL"] = "http://127.0.0.1:9"
    lost = finished(frigate, 1)[0]
    mirror.start()
    mirror.wait_for(lambda: "S3 uploads wait" in mirror.log())
    mirror.stop(mirror.processes[-1])
    frigate.delete_event(lost)
    mirror.environment["S3_ENDPOINT_URL"] = good
    done = mirror.command("run", "--once")
    assert done.returncode == 1
    assert f"S3 upload lost event={lost.id}" in done.stdout
    assert event.id not in mirror.log() + done.stdout


def test_s3_away_and_frigate_deletes(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """The spool has the picture, fetched twice at most: by the try that failed, and by the spool."""
    assert api.files is not None
    api.files.remembers = 0.0
    mirror = started(api_mirror(frigate, api, rclone_proxy))
    with rclone_proxy.proxy.refusing():
        events = finished(frigate, 3)
        wanted = pictures_of(events)
        spool = Path(mirror.environment["S3_STATE_DIR"]) / "spool"
        mirror.wait_for(lambda: spool.is_dir() and len([*spool.glob("*.jpg")]) == 3)
        mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["retrying"] >= 1)
        for event in events:
            frigate.delete_event(event)
        time.sleep(3)
    mirror.wait_for(lambda: len(rclone_proxy.objects()) == 3, 60)
    assert_mirrored(rclone_proxy, wanted)
    for event in events:
        fetched = [m for _, m, path in api.requests if m == "GET" and event.id in path and path.startswith("/clips/")]
        assert 1 <= len(fetched) <= 2


def test_frigates_media_folder_is_away(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """Pictures that were seen are all 404 for a while, some even longer, for nginx remembers that: none counts as lost."""
    assert api.files is not None
    api.files.remembers = 0.0
    mirror = started(api_mirror(frigate, api, rclone_proxy, S3_SPOOL_MAX="0"))
    with rclone_proxy.proxy.refusing():
        events = finished(frigate, 4)
        mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["backlog"] == 4)
        elsewhere = frigate.clips_dir.rename(frigate.clips_dir.with_name("unmounted"))
    told = "Frigate hands out 0 of 4 snapshots; is its media folder mounted?"
    mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["reason"].startswith(told), 60)
    api.files.remembers = 20.0
    assert events[0].snapshot_path is not None
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(f"{api.url}/clips/{events[0].snapshot_path.name}")
    elsewhere.rename(frigate.clips_dir)
    mirror.wait_for(lambda: len(rclone_proxy.objects()) == 4, 120)
    assert_mirrored(rclone_proxy, pictures_of(events))
    status = json.loads(mirror.command("status", "--json").stdout)
    assert (status["counts"]["expired"], status["counts"]["absent"], status["health"]) == (0, 0, "OK")


@pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed (apt install mosquitto)")
def test_mqtt_saves_the_asking(
    tmp_path: Path, rclone: Target, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """While Frigate speaks, nobody asks what runs; without it or the broker, by asking again. Also with S3_LIVE=false."""
    with mosquitto(tmp_path / "broker") as broker, home_of(broker) as home:
        mirror = started(api_mirror(frigate, api, rclone, **broker.environment(), S3_SCAN_INTERVAL="60"))
        mirror.wait_for(lambda: mirror.log().count("connected to the MQTT broker") == 2)
        before = asked(api, "in_progress=1")
        mirror.wait_for(lambda: asked(api, "in_progress=1") > before + 2)  # the broker is there, Frigate is not
        home.say("frigate/available", "online", retain=True)
        mirror.wait_for(lambda: "learnt of over MQTT" in mirror.log())
        time.sleep(3)
        before = asked(api, "in_progress=1")
        event = frigate.begin_event()
        home.say(TOPIC, message(event, "new", 1.0))
        mirror.wait_for(lambda: _copy_of(mirror) == {event.id})
        home.say(TOPIC, message(event, "end", 1.0, end_time=time.time()))  # before the row has its end
        time.sleep(0.3)
        events = [frigate.end_event(event)]
        mirror.wait_for(lambda: len(rclone.objects()) == 1, 10)
        assert asked(api, "in_progress=1") == before
        unheard = frigate.begin_event()
        home.say(TOPIC, message(unheard, "new", 1.0))
        mirror.wait_for(lambda: unheard.id in _copy_of(mirror))
        broker.stop()
        mirror.wait_for(lambda: "by asking every second" in mirror.log())
        events.append(frigate.end_event(unheard))
        mirror.wait_for(lambda: len(rclone.objects()) == 2, 10)
        assert asked(api, "in_progress=1") > before
        assert_mirrored(rclone, pictures_of(events))
        assert "Traceback" not in mirror.log()


def test_live_pictures(rclone: Target, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror) -> None:
    """Of running events that the API lists, about one look after their row; then the final one beside them."""
    mirror = started(api_mirror(frigate, api, rclone, S3_LIVE="true"))
    took = []
    for number in range(FAST_EVENTS):
        event = frigate.begin_event()
        began = time.monotonic()
        api.pictures[event.id] = b"\xff\xd8live" + event.id.encode()
        mirror.wait_for(lambda: mirror.log().count("S3 live picture done") == number + 1, 10)  # noqa: B023
        took.append(time.monotonic() - began)
        time.sleep(0.13)
    print(f"\nrow to live picture: median {statistics.median(took):.3f} s, worst {max(took):.3f} s")
    assert statistics.median(took) < 1.5
    manual = frigate.manual_event(duration=None)
    mirror.wait_for(lambda: len([key for key in rclone.objects() if manual.id in key]) >= 1, 15)
    del api.pictures[event.id]
    ended = frigate.end_event(event)
    mirror.wait_for(lambda: expected_key(ended, PREFIX) in rclone.objects(), 10)


def test_a_damaged_copy_is_made_anew(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """It is a cache: nothing is lost, and nothing goes twice."""
    mirror = api_mirror(frigate, api, rclone_proxy)
    events = finished(frigate, 3)
    assert mirror.command("run", "--once").returncode == 0
    copy = Path(mirror.environment["S3_STATE_DIR"]) / "frigate-copy.db"
    for junk in (b"no database at all" * 500, b""):
        copy.write_bytes(junk)
        events += finished(frigate, 1)
        assert mirror.command("run", "--once").returncode == 0
    started(mirror)
    for ending in ("", "-wal", "-shm"):  # while it is in use
        copy.with_name(copy.name + ending).unlink(missing_ok=True)
    events += finished(frigate, 1)
    mirror.wait_for(lambda: len(rclone_proxy.objects()) == 6)
    mirror.wait_for(lambda: len(_copy_of(mirror)) == 6)
    mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["health"] == "OK")
    assert_mirrored(rclone_proxy, pictures_of(events))
    assert {n for key, n in rclone_proxy.stored().items() if ".mirror/" not in key} == {1}


@pytest.mark.parametrize("version", ["0.14", "0.16", "0.18"])
def test_clips(version: str, rclone: Target, tmp_path: Path, api_mirror: MakeApiMirror) -> None:
    """Segments of alerts alone, those of a running event as they come, then its playlist."""
    with (
        SimulatedFrigate(tmp_path / "frigate", version=version, cameras=CAMERAS) as frigate,
        FrigateHttp("open", frigate) as api,
    ):
        now = time.time()
        old, unwanted = (frigate.begin_event(camera, start_time=now - 900) for camera in CAMERAS)
        segments = {camera: [frigate.add_segment(camera, now - 910 + 10 * n) for n in range(6)] for camera in CAMERAS}
        frigate.end_review(frigate.begin_review([old]), now - 880)
        frigate.end_review(frigate.begin_review([unwanted], "detection"), now - 880)
        for event in (old, unwanted):
            frigate.complete_row(frigate.write_files(event), now - 885)
        more = {"S3_ARTIFACTS": "snapshot,clip", "S3_CLIP_SEVERITY": "alert", "S3_CLIP_POST": "0s"}
        mirror = started(api_mirror(frigate, api, rclone, **more))
        mirror.wait_for(lambda: any(key.endswith(".m3u8") or ".m3u" in key for key in rclone.objects()))
        contents = list(rclone.objects().values())
        sent = [s for s in segments[CAMERAS[0]] if s.path.read_bytes() in contents]
        assert len(sent) >= 2
        assert not [s for s in segments[CAMERAS[1]] if s.path.read_bytes() in contents]
        running = frigate.begin_event(CAMERAS[1])
        frigate.begin_review([running])
        fresh = frigate.add_segment(CAMERAS[1], time.time())
        mirror.wait_for(lambda: fresh.path.read_bytes() in rclone.objects().values(), 20)
        assert "Traceback" not in mirror.log()


def test_doctor(rclone: Target, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror) -> None:
    """Frigate's API instead of its disk, and a fix for each thing that can be wrong."""

    def findings(mirror: RunningMirror) -> dict[str, tuple[str, str]]:
        checks = json.loads(mirror.command("doctor", "--json").stdout)["checks"]
        return {check["name"]: (check["verdict"], f"{check['seen']} {check['fix'] or ''}") for check in checks}

    clips = {"S3_ARTIFACTS": "snapshot,clip"}
    found = findings(api_mirror(frigate, api, rclone, **clips))
    assert not {"database", "clips folder", "inotify"} & set(found)
    assert {verdict for verdict, _ in found.values()} == {"ok", "skipped"}
    assert (found["picture files"][0], found["recordings"][0]) == (
        "skipped",
        "skipped",
    )  # there are none to be asked for
    finished(frigate, 2)
    frigate.add_segment(CAMERAS[0], time.time() - 5)
    found = findings(api_mirror(frigate, api, rclone, **clips))
    assert found["frigate api"] == ("ok", f"{api.url} answers, Frigate 0.17. ")
    assert "2 of" in found["picture files"][1]
    assert (found["events"][0], found["recordings"][0]) == ("ok", "ok")
    unwanted = findings(api_mirror(frigate, api, rclone, S3_CAMERAS="gardn"))["events"]
    assert (unwanted[0], "S3_CAMERAS lets none of Frigate's cameras through" in unwanted[1]) == ("failed", True)
    api.faults = {"/clips/": 404}
    assert findings(api_mirror(frigate, api, rclone))["picture files"][0] == "warning"
    api.faults = {"/clips/": 403}
    verdict, text = findings(api_mirror(frigate, api, rclone))["picture files"]
    assert verdict == "failed"
    assert "port 5000" in text
    away = findings(api_mirror(frigate, api, rclone, FRIGATE_URL="http://127.0.0.1:9"))
    assert away["frigate api"][0] == "failed"
    assert "FRIGATE_URL" in away["frigate api"][1]
    assert away["events"] == away["picture files"] == ("skipped", "Needs frigate api. ")
    with FrigateHttp("login", frigate) as guarded:
        assert "FRIGATE_USER" in findings(api_mirror(frigate, guarded, rclone))["frigate api"][1]


def test_the_other_commands(
    rclone: Target, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror, tmp_path: Path
) -> None:
    """status proves from the copy, verify and restore work; without a copy nobody speaks of FRIGATE_DB_PATH."""
    events = finished(frigate, 3)
    mirror = api_mirror(frigate, api, rclone)
    assert mirror.command("run", "--once").returncode == 0
    proof = json.loads(mirror.command("status", "--json").stdout)["proof"]["24 h"]
    assert (proof["in_frigate"], proof["uploaded"], proof["missing"]) == (3, 3, 0)
    verified = mirror.command("verify", "--json")
    assert verified.returncode == 0, verified.stdout
    assert mirror.command("retry-failed").returncode == 0
    restored = mirror.command("restore", "--to", str(tmp_path / "restored"))
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert len([*(tmp_path / "restored").rglob("*.jpg")]) == len(events)
    (Path(mirror.environment["S3_STATE_DIR"]) / "frigate-copy.db").unlink()
    told = mirror.command("verify")
    assert not re.search("FRIGATE_DB_PATH", told.stdout + told.stderr)


@pytest.mark.parametrize("way", ["polling", "mqtt"])
def test_it_is_fast_and_asks_little(
    way: str, tmp_path: Path, rclone: Target, frigate: SimulatedFrigate, api: FrigateHttp, api_mirror: MakeApiMirror
) -> None:
    """From the end in Frigate's table to the object in the bucket: a second by polling, a blink with MQTT."""
    if way == "mqtt" and PROGRAM is None:
        pytest.skip("mosquitto is not installed (apt install mosquitto)")
    with contextlib.ExitStack() as stack:
        more, home = {}, None
        if way == "mqtt":
            broker = stack.enter_context(mosquitto(tmp_path / "broker"))
            home, more = stack.enter_context(home_of(broker)), broker.environment()
        mirror = started(api_mirror(frigate, api, rclone, **more))
        if home is not None:
            home.say("frigate/available", "online", retain=True)
            mirror.wait_for(lambda: "learnt of over MQTT" in mirror.log())
            time.sleep(3)
        asked_before, cpu_before = len(api.requests), _cpu_seconds(mirror)
        time.sleep(QUIET_SECONDS)
        per_minute = (len(api.requests) - asked_before) * 60 / QUIET_SECONDS
        cpu = (_cpu_seconds(mirror) - cpu_before) / QUIET_SECONDS
        took = []
        for number in range(FAST_EVENTS):
            event = frigate.begin_event()
            if home is not None:
                home.say(TOPIC, message(event, "new", 1.0))
            time.sleep(1.13 if home is None else 0.3)
            event = frigate.end_event(event)
            ended = time.monotonic()
            if home is not None:
                home.say(TOPIC, message(event, "end", 1.0))
            mirror.wait_for(lambda: mirror.log().count("S3 upload done") == number + 1)  # noqa: B023
            took.append(time.monotonic() - ended)
        print(
            f"\n{way}: median {statistics.median(took):.3f} s, worst {max(took):.3f} s; quiet: {per_minute:.0f} requests "
            f"a minute, {cpu:.2%} of a core"
        )
        assert statistics.median(took) < 1.5
        assert per_minute < 90


def _cpu_seconds(mirror: RunningMirror) -> float:
    fields = Path(f"/proc/{mirror.processes[-1].pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
