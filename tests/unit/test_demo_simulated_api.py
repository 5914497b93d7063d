"""The simulated API answers as Frigate's does, version by version, and as its nginx does in front of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPMessage, IncompleteRead
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from frigate_s3_mirror.demo.simulated_api import COOKIE, PASSWORD, USER, FrigateHttp
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate

VERSIONS = ("0.14", "0.16", "0.17", "0.18")
BYPASS = {"X-Cache-Bypass": "1"}
WHO_ASKS = {"remote-user": "mirror", "remote-role": "admin"}


class Got(NamedTuple):
    """One answer, read to its end."""

    status: int
    headers: HTTPMessage
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


def get(api: FrigateHttp, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Got:
    url = urlsplit(api.url)
    with closing(HTTPConnection(str(url.hostname), url.port or 0, timeout=20)) as connection:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Got(answer.status, answer.headers, answer.read())


def fresh(api: FrigateHttp, path: str) -> Any:
    return get(api, path, **BYPASS).json()


@contextmanager
def simulated(root: Path, version: str = "0.17", way: str = "open") -> Iterator[tuple[SimulatedFrigate, FrigateHttp]]:
    with SimulatedFrigate(root, version) as frigate, FrigateHttp(way, frigate) as api:
        yield frigate, api


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path) as frigate:
        yield frigate


@pytest.fixture
def api(frigate: SimulatedFrigate) -> Iterator[FrigateHttp]:
    with FrigateHttp("open", frigate) as server:
        yield server


@pytest.mark.parametrize("version", VERSIONS)
def test_the_version_is_text(tmp_path: Path, version: str) -> None:
    """A release and a commit, and no JSON."""
    with simulated(tmp_path, version) as (_, api):
        got = get(api, "/api/version")
    assert got.content.decode().startswith(f"{version}.")
    assert got.content.decode().endswith("-1234567")
    assert got.headers["content-type"].startswith("text/")


@pytest.mark.parametrize("version", VERSIONS)
def test_events_are_rows_newest_first(tmp_path: Path, version: str) -> None:
    """The same fields in every version; the thumbnail is in them only while it is in the table, up to 0.15."""
    with simulated(tmp_path, version) as (frigate, api):
        first = frigate.end_event(frigate.begin_event("garage", "cat", "Tom"))
        second = frigate.begin_event("garage")
        newest, oldest = fresh(api, "/api/events")
        assert [row["id"] for row in fresh(api, "/api/events?sort=date_asc")] == [first.id, second.id]
        bare = fresh(api, "/api/events?include_thumbnails=0")[0]
    assert (newest["id"], newest["end_time"]) == (second.id, None)
    assert set(oldest) == {
        "id", "camera", "label", "zones", "start_time", "end_time", "has_clip", "has_snapshot", "plus_id",
        "retain_indefinitely", "sub_label", "top_score", "false_positive", "box", "data", "thumbnail",
    }  # fmt: skip
    assert (oldest["sub_label"], oldest["has_snapshot"], oldest["zones"]) == ("Tom", True, ["yard"])
    assert oldest["data"]["type"] == "object"
    assert bool(oldest["thumbnail"]) == (version == "0.14")
    assert "thumbnail" not in bare


def test_events_can_be_asked_for_by_time_and_state(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """Both ends of the time are exclusive, and 100 come at most if no limit is told."""
    events = [frigate.begin_event("garage", start_time=1000.0 + number) for number in range(102)]
    ended = frigate.no_snapshot_event("garage")
    assert len(fresh(api, "/api/events")) == 100
    assert len(fresh(api, "/api/events?limit=500")) == 103
    within = fresh(api, f"/api/events?after={events[3].start_time}&before={events[6].start_time}")
    assert [row["id"] for row in within] == [events[5].id, events[4].id]
    assert [row["id"] for row in fresh(api, "/api/events?in_progress=0")] == [ended.id]
    assert [row["id"] for row in fresh(api, "/api/events?has_snapshot=0")] == [ended.id]
    assert len(fresh(api, "/api/events?in_progress=1&limit=500")) == 102


@pytest.mark.parametrize("version", ["0.16", "0.17"])
def test_a_camera_that_is_no_longer_configured(tmp_path: Path, version: str) -> None:
    """From 0.17 on its events are in no list, though they are in the table and can be had by id."""
    with simulated(tmp_path, version) as (frigate, api):
        event = frigate.begin_event("sold")
        assert len(fresh(api, "/api/events")) == int(version == "0.16")
        assert get(api, f"/api/events/{event.id}").status == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_one_event_by_its_id(tmp_path: Path, version: str) -> None:
    """0.14 gives all of the row, later versions less; who does not exist is said in words."""
    with simulated(tmp_path, version) as (frigate, api):
        event = frigate.begin_event("garage")
        row = get(api, f"/api/events/{event.id}").json()
        missing = get(api, "/api/events/1.0-nobody")
    assert (row["id"], row["start_time"]) == (event.id, event.start_time)
    assert ("box" in row) == (version == "0.14")
    assert missing.status == 404
    assert missing.content == (b"Event not found" if version == "0.14" else b'"Event not found"')


@pytest.mark.parametrize("version", VERSIONS)
def test_the_snapshot_of_a_finished_event(tmp_path: Path, version: str) -> None:
    """Up to 0.17 it is the file; 0.18 draws another JPEG, and draws a box if asked."""
    with simulated(tmp_path, version) as (frigate, api):
        event = frigate.end_event(frigate.begin_event("garage"))
        assert event.snapshot_path is not None
        got = get(api, f"/api/events/{event.id}/snapshot.jpg")
        again = get(api, f"/api/events/{event.id}/snapshot.jpg")
        boxed = get(api, f"/api/events/{event.id}/snapshot.jpg?bbox=1")
        assert (got.content == event.snapshot_path.read_bytes()) == (version != "0.18")
    assert (got.status, got.headers["content-type"], got.content[:2]) == (200, "image/jpeg", b"\xff\xd8")
    assert got.content == again.content
    assert (got.content == boxed.content) == (version != "0.18")


@pytest.mark.parametrize(
    ("version", "ending", "other"), [("0.16", "png", "webp"), ("0.17", "webp", "png"), ("0.18", "webp", "png")]
)
def test_the_clean_copy(tmp_path: Path, version: str, ending: str, other: str) -> None:
    """PNG up to 0.16, WebP later, byte for byte, and never under the other's name."""
    with simulated(tmp_path, version) as (frigate, api):
        event = frigate.end_event(frigate.begin_event("garage"))
        got = get(api, f"/api/events/{event.id}/snapshot-clean.{ending}")
        assert got.content == (frigate.clips_dir / f"garage-{event.id}-clean.{ending}").read_bytes()
        assert get(api, f"/api/events/{event.id}/snapshot-clean.{other}").status == 404


def test_a_picture_that_is_not_there(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """A running event has one if Frigate tracks it; a killed event, one without snapshot and a stranger have none."""
    running = frigate.begin_event("garage")
    assert get(api, f"/api/events/{running.id}/snapshot.jpg").status == 404
    api.pictures[running.id] = b"\xff\xd8running"
    got = get(api, f"/api/events/{running.id}/snapshot.jpg")
    assert (got.content, got.headers["cache-control"]) == (b"\xff\xd8running", "no-store")
    for event_id in (frigate.killed_event("garage").id, frigate.no_snapshot_event("garage").id, "1.0-nobody"):
        assert get(api, f"/api/events/{event_id}/snapshot.jpg").status == 404
        assert get(api, f"/api/events/{event_id}/snapshot-clean.webp").json()["success"] is False


@pytest.mark.parametrize("version", VERSIONS)
def test_recordings_of_a_camera(tmp_path: Path, version: str) -> None:
    """Those that touch the time asked for, both ends inclusive, oldest first."""
    with simulated(tmp_path, version) as (frigate, api):
        segments = [frigate.add_segment("garage", 1_795_457_800 + 10 * number) for number in range(5)]
        frigate.add_segment("back-yard", 1_795_457_810)
        rows = fresh(api, "/api/garage/recordings?after=1795457820&before=1795457830")
    assert [row["id"] for row in rows] == [segment.id for segment in segments[1:4]]
    heat = {"motion_heatmap"} if version == "0.18" else set()
    assert set(rows[0]) == {"id", "start_time", "end_time", "segment_size", "motion", "objects", "duration"} | heat
    assert (rows[0]["start_time"], rows[0]["end_time"]) == (1_795_457_810, 1_795_457_820)


@pytest.mark.parametrize("version", ["0.14", "0.17"])
def test_recordings_without_a_time(tmp_path: Path, version: str) -> None:
    """0.14 means the last hour; later versions the hour before Frigate started, for their defaults are made then."""
    now = [1_795_457_800.0]
    with SimulatedFrigate(tmp_path, version, clock=lambda: now[0]) as frigate, FrigateHttp("open", frigate) as api:
        frigate.add_segment("garage", now[0] + 50)
        now[0] += 100
        assert len(fresh(api, "/api/garage/recordings")) == int(version == "0.14")


@pytest.mark.parametrize("version", VERSIONS)
def test_reviews(tmp_path: Path, version: str) -> None:
    """0.14 gives those that lie within the time, later versions those that touch it; running ones always."""
    with simulated(tmp_path, version) as (frigate, api):
        early = frigate.begin_review([frigate.begin_event("garage", start_time=1000.0)], "detection")
        frigate.end_review(early, 1100.0)
        running = frigate.begin_review([frigate.begin_event("back-yard", start_time=1090.0)])
        both = [row["id"] for row in fresh(api, "/api/review?after=900&before=1200")]
        touching = [row["id"] for row in fresh(api, "/api/review?after=1050&before=1200")]
        alerts = [row["id"] for row in fresh(api, "/api/review?after=900&before=1200&severity=alert")]
        garage = fresh(api, "/api/review?after=900&before=1200&cameras=garage")
        newest = fresh(api, "/api/review?after=900&before=1200&limit=1")
    assert both == [running.id, early.id]
    assert touching == ([running.id] if version == "0.14" else both)
    assert alerts == [row["id"] for row in newest] == [running.id]
    assert [row["id"] for row in garage] == [early.id]
    assert garage[0]["data"]["detections"] == list(early.event_ids)
    assert garage[0]["has_been_reviewed"] is False


@pytest.mark.parametrize("version", VERSIONS)
def test_reviews_that_somebody_has_seen(tmp_path: Path, version: str) -> None:
    """Up to 0.16 they are left out unless `reviewed=1` is asked for; from 0.17 on that asks for nothing else."""
    with simulated(tmp_path, version) as (frigate, api):
        event = frigate.begin_event("garage")
        seen, other = frigate.begin_review([event]), frigate.begin_review([event])
        frigate.see_review(seen)
        address = f"/api/review?after=1&before={time.time() + 60}"
        found = [{row["id"] for row in fresh(api, address + more)} for more in ("", "&reviewed=0", "&reviewed=1")]
    is_late = version in {"0.17", "0.18"}
    both = {seen.id, other.id}
    assert found == [both if is_late else {other.id}, {other.id}, {seen.id} if is_late else both]


def test_0_13_has_no_reviews(tmp_path: Path) -> None:
    """The path does not exist there."""
    with simulated(tmp_path, "0.13") as (_, api):
        assert get(api, "/api/review").status == 404


def test_nginx_gives_stale_answers(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """For five seconds the same address gets the same JSON; every other address is another one."""
    assert get(api, "/api/events").json() == []
    event = frigate.begin_event("garage")
    stale = get(api, "/api/events")
    assert (stale.json(), stale.headers["x-cache-status"]) == ([], "HIT")
    assert [row["id"] for row in get(api, "/api/events?limit=7").json()] == [event.id]
    api.remembered.remembers = 0.0
    assert get(api, "/api/events", **BYPASS).headers["x-cache-status"] == "BYPASS"
    assert get(api, "/api/events").headers["x-cache-status"] == "EXPIRED"


def test_a_bypass_is_fresh_and_refreshes(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """What the bypassing request got is what the others get from then on; "0" is no bypass."""
    assert get(api, "/api/events").json() == []
    frigate.begin_event("garage")
    assert get(api, "/api/events", X_Cache_Bypass="0").json() == []
    assert len(fresh(api, "/api/events")) == 1
    assert len(get(api, "/api/events").json()) == 1


def test_nginx_remembers_neither_failures_nor_pictures(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """An event that was not there is found as soon as it is; a better picture is seen at once."""
    event = frigate.begin_event("garage")
    address = f"/api/events/{event.id}/snapshot.jpg"
    assert [get(api, address).status, get(api, "/api/nothing").status] == [404, 404]
    for picture in (b"first", b"second"):
        api.pictures[event.id] = picture
        assert get(api, address).content == picture


def test_files_are_served_as_they_are(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """Pictures and segments; HEAD tells the length and sends nothing; nginx knows few types."""
    event = frigate.end_event(frigate.begin_event("garage"))
    segment = frigate.add_segment("garage", 1_795_457_819)
    picture = get(api, f"/clips/garage-{event.id}.jpg")
    clean = get(api, f"/clips/garage-{event.id}-clean.webp")
    video = get(api, "/recordings/2026-11-23/18/garage/16.59.mp4")
    head = get(api, "/recordings/2026-11-23/18/garage/16.59.mp4", "HEAD")
    assert event.snapshot_path is not None
    assert (picture.content, picture.headers["content-type"]) == (event.snapshot_path.read_bytes(), "image/jpeg")
    assert (clean.status, clean.headers["content-type"]) == (200, "application/octet-stream")
    assert (video.content, video.headers["content-type"]) == (segment.path.read_bytes(), "video/mp4")
    assert (head.status, head.content, int(head.headers["content-length"])) == (200, b"", len(video.content))
    assert head.headers["etag"] == video.headers["etag"]


def test_nothing_but_the_two_folders_is_served(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """Neither the database nor a folder nor anything by way of `..`."""
    assert frigate.db_path.exists()
    statuses = {
        path: get(api, path).status
        for path in (
            "/config/frigate.db",
            "/clips/../../../config/frigate.db",
            "/clips/%2e%2e/recordings",
            "/clips/thumbs/",
            "/recordings/",
            "/exports/",
        )
    }
    assert set(statuses.values()) <= {400, 404}


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=900-", 900, 999),
        ("bytes=-5", 995, 999),
        ("bytes=990-5000", 990, 999),
    ],
)
def test_a_range_is_a_part(frigate: SimulatedFrigate, api: FrigateHttp, wanted: str, first: int, last: int) -> None:
    """Both ends count; a download that broke can go on."""
    content = frigate.add_segment("garage", 1_795_457_819, size_bytes=1000).path.read_bytes()
    got = get(api, "/recordings/2026-11-23/18/garage/16.59.mp4", Range=wanted)
    assert (got.status, got.content) == (206, content[first : last + 1])
    assert got.headers["content-range"] == f"bytes {first}-{last}/1000"


def test_a_range_beyond_the_end_is_refused(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """With the length in the answer."""
    frigate.add_segment("garage", 1_795_457_819, size_bytes=1000)
    got = get(api, "/recordings/2026-11-23/18/garage/16.59.mp4", Range="bytes=1000-")
    assert (got.status, got.headers["content-range"]) == (416, "bytes */1000")


def test_two_gigabytes_are_streamed(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """The length is told at once, and the tail can be had alone."""
    path = frigate.add_segment("garage", 1_795_457_819, size_bytes=2_000_000_000).path
    head = get(api, "/recordings/2026-11-23/18/garage/16.59.mp4", "HEAD")
    tail = get(api, "/recordings/2026-11-23/18/garage/16.59.mp4", Range="bytes=-1000")
    with path.open("rb") as file:
        file.seek(-1000, 2)
        assert tail.content == file.read()
    assert head.headers["content-length"] == "2000000000"


def test_nginx_remembers_that_a_file_was_missing(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """Who asks too early gets 404 for two minutes more; with nothing remembered the file is there."""
    address = "/recordings/2026-11-23/18/garage/16.59.mp4"
    assert get(api, address).status == 404
    frigate.add_segment("garage", 1_795_457_819)
    assert get(api, address, **BYPASS).status == 404
    assert api.files is not None
    api.files.forget()
    assert get(api, address).status == 200


def test_nginx_remembers_how_long_a_file_was(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """A file that was asked for half written stays half; one that is deleted is served on."""
    path = frigate.add_segment("garage", 1_795_457_819, content=b"half").path
    address = "/recordings/2026-11-23/18/garage/16.59.mp4"
    assert get(api, address).content == b"half"
    with path.open("ab") as file:
        file.write(b" and whole")
    assert get(api, address).content == b"half"
    path.unlink()
    assert get(api, address).content == b"half"
    assert api.files is not None
    api.files.forget()
    assert get(api, address).status == 404


def test_a_login_is_needed_for_everything(tmp_path: Path) -> None:
    """Port 8971: a cookie or the same token as bearer, also for files and, in nginx's configuration, the version."""
    with simulated(tmp_path, way="login") as (frigate, api):
        frigate.add_segment("garage", 1_795_457_819)
        paths = ("/api/events", "/api/version", "/recordings/2026-11-23/18/garage/16.59.mp4")
        assert {get(api, path).status for path in paths} == {401}
        assert get(api, "/api/login", "POST", json.dumps({"user": USER, "password": "wrong"})).status == 401
        login = get(api, "/api/login", "POST", json.dumps({"user": USER, "password": PASSWORD}))
        cookie = login.headers["set-cookie"].partition(";")[0]
        assert cookie == f"{COOKIE}1"
        assert {get(api, path, Cookie=cookie).status for path in paths} == {200}
        assert {get(api, path, Authorization=f"Bearer {api.token}").status for path in paths} == {200}
        api.sessions += 1
        assert {get(api, path, Cookie=cookie).status for path in paths} == {401}


@pytest.mark.parametrize("version", ["0.16", "0.17"])
def test_the_inner_port(tmp_path: Path, version: str) -> None:
    """Paths without /api, no files, nothing remembered; from 0.17 on it wants to know who asks, but for the version."""
    with simulated(tmp_path, version, "inner") as (frigate, api):
        event = frigate.end_event(frigate.begin_event("garage"))
        picture, is_strict = f"/events/{event.id}/snapshot.jpg", version == "0.17"
        assert get(api, "/version").status == 200
        assert (get(api, "/events").status, get(api, picture).status) == ((401, 404) if is_strict else (200, 200))
        assert len(get(api, "/events", **WHO_ASKS).json()) == 1
        frigate.begin_event("garage")
        assert len(get(api, "/events", **WHO_ASKS).json()) == 2
        assert get(api, picture, **WHO_ASKS).status == 200
        assert get(api, f"/clips/garage-{event.id}.jpg", **WHO_ASKS).status == 404
        assert get(api, "/api/events", **WHO_ASKS).status == 404


@pytest.mark.parametrize("version", ["0.14", "0.17"])
def test_head_of_a_picture(tmp_path: Path, version: str) -> None:
    """Frigate's own server refuses HEAD from 0.15 on; JSON goes through nginx's memory, which asks with GET."""
    with simulated(tmp_path, version) as (frigate, api):
        event = frigate.end_event(frigate.begin_event("garage"))
        assert get(api, f"/api/events/{event.id}/snapshot.jpg", "HEAD").status == (200 if version == "0.14" else 405)
        assert get(api, "/api/events", "HEAD").status == 200


def test_a_bad_day_for_some_or_for_all(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """A status for paths that begin so, one for everything, and what is not meant goes on."""
    api.faults["/api/events"] = 502
    assert (get(api, "/api/events").status, get(api, "/api/version").status) == (502, 200)
    api.status = 503
    assert (get(api, "/api/version").status, get(api, "/api/events").status) == (503, 502)


def test_a_connection_that_breaks(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """The length is promised, some of it comes, and then nothing."""
    frigate.add_segment("garage", 1_795_457_819, size_bytes=5000)
    api.break_after = 1200
    with pytest.raises(IncompleteRead) as broken:
        get(api, "/recordings/2026-11-23/18/garage/16.59.mp4")
    assert len(broken.value.partial) == 1200


def test_down_and_up(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """Down, it refuses connections and drops those that it has; up, it has its address again and remembers nothing."""
    assert get(api, "/api/events").json() == []
    frigate.begin_event("garage")
    url = urlsplit(api.url)
    with closing(HTTPConnection(str(url.hostname), url.port or 0, timeout=20)) as kept:
        kept.request("GET", "/api/version")
        kept.getresponse().read()
        api.down()
        api.down()
        assert kept.sock is not None
        assert kept.sock.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        get(api, "/api/version")
    api.up()
    api.up()
    assert len(get(api, "/api/events").json()) == 1


def test_what_was_asked_is_known(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """Reads with their time and path, and all requests with their method too."""
    get(api, "/api/version")
    get(api, "/clips/nothing.jpg", "HEAD")
    get(api, "/api/login", "POST", "{}")
    assert [path for _, path in api.asked] == ["/api/version", "/clips/nothing.jpg"]
    assert [(method, path) for _, method, path in api.requests] == [
        ("GET", "/api/version"), ("HEAD", "/clips/nothing.jpg"), ("POST", "/api/login"),
    ]  # fmt: skip


def test_numbers_that_are_none(frigate: SimulatedFrigate, api: FrigateHttp) -> None:
    """Refused with the status of a request that cannot be understood."""
    assert get(api, "/api/events?after=yesterday").status == 422


def test_the_database_may_be_closed(tmp_path: Path) -> None:
    """Each answer opens it anew; one that was cleanly closed can still be read."""
    with SimulatedFrigate(tmp_path) as frigate:
        event = frigate.begin_event("garage")
    with FrigateHttp("open", frigate) as api:
        assert get(api, f"/api/events/{event.id}").json()["id"] == event.id
