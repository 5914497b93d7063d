"""Clips over HTTP, without a browser: addresses, stretches, playlists, who may have them, what is counted."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import MakeMirror, RunningMirror, WatchedTarget
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.demo.simulated_recordings import SimulatedSegment
from recording_proxy import Fault, FaultKind
from servers import Target
from status_pages import address_of, ask

CLIPS = {"S3_ARTIFACTS": "snapshot,clip", "S3_CLIP_PRE": "0", "S3_CLIP_POST": "0", "S3_STATUS_LISTEN": "127.0.0.1:0"}
TOKEN = "a-token-of-the-tests"
SIZE = 600_000  # bytes; more than one chunk


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("yard",)) as simulated:
        yield simulated


def mirrored(
    mirror: RunningMirror, frigate: SimulatedFrigate, count: int = 2
) -> tuple[str, SimulatedEvent, list[SimulatedSegment]]:
    """The address of a mirror that has sent an event with so many segments."""
    mirror.start()
    address = address_of(mirror)
    event = frigate.begin_event(start_time=time.time() - 10 * count)
    segments = [frigate.add_segment("yard", event.start_time + 10 * number, size_bytes=SIZE) for number in range(count)]
    frigate.end_event(event)
    mirror.wait_for(lambda: mirror.log().count(".mp4 size=") == count and ".jpg size=" in mirror.log())
    return address, event, segments


def fetched(address: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body as bytes, redirects not followed."""
    url = urlsplit(address)
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    try:
        connection.request("GET", f"{url.path}?{url.query}", headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def addresses_in(playlist: str) -> list[str]:
    """What a player would open."""
    return [line for line in playlist.splitlines() if line and not line.startswith("#")]


def segment_paths(address: str, event: SimulatedEvent) -> list[str]:
    """The addresses of the segments on the event's page."""
    found = ask(address, f"/event/{event.id}").text.split(f'<li><a href="/clip/{event.id}/')[1:]
    return [f"/clip/{event.id}/{text.split(chr(34))[0]}" for text in found]


def test_segments_come_by_presigned_addresses(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """A fresh one each time that works without credentials; for a player all of them in a list, for an hour."""
    address, event, segments = mirrored(mirror_for(frigate, rclone, **CLIPS), frigate)
    answer = ask(address, segment_paths(address, event)[1])
    assert answer.status == 307
    assert "X-Amz-Expires=600" in answer.headers["location"]
    assert answer.headers["cache-control"] == "private, max-age=300"
    assert fetched(answer.headers["location"])[2] == segments[1].path.read_bytes()
    playlist = ask(address, f"/clip/{event.id}.m3u8")
    assert playlist.headers["content-type"].startswith("audio/x-mpegurl")
    assert event.id in playlist.headers["content-disposition"]
    assert playlist.text.startswith("#EXTM3U\n#EXTINF:10.000,")
    links = addresses_in(playlist.text)
    assert all("X-Amz-Expires=3600" in link for link in links)
    assert [fetched(link)[2] for link in links] == [segment.path.read_bytes() for segment in segments]
    for path in (f"/clip/{event.id}/nothing", "/clip/nothing/nothing", "/clip/nothing.m3u8", f"/clip/{event.id}/"):
        assert ask(address, path).status == 404, path
    policy = ask(address, f"/event/{event.id}").headers["content-security-policy"]
    assert f"media-src 'self' {rclone.endpoint_url};" in policy


def test_the_service_hands_out_stretches(s3: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Whole, in part, from the end, and beyond it; what is not understood gets the whole."""
    mirror = mirror_for(frigate, s3, **CLIPS, S3_STATUS_PROXY="true")
    address, event, segments = mirrored(mirror, frigate)
    content = segments[0].path.read_bytes()
    segments[0].path.unlink()  # so it can come from the bucket only
    path = address + segment_paths(address, event)[0]
    for header, part in (("bytes=0-", content), ("bytes=100-299999", content[100:300_000]), ("bytes=-7", content[-7:])):
        status, headers, body = fetched(path, Range=header)
        begin = len(content) - len(part) if header == "bytes=-7" else content.index(part)
        assert (status, body) == (206, part)
        assert headers["content-range"] == f"bytes {begin}-{begin + len(part) - 1}/{SIZE}"
        assert headers["content-type"] == "video/mp4"
    for more in ({}, {"Range": "bytes=5-2"}, {"Range": "words=1-2"}):
        status, headers, body = fetched(path, **more)
        assert (status, body, headers["accept-ranges"]) == (200, content, "bytes")
        assert "content-range" not in headers
    assert fetched(path, Range=f"bytes={SIZE}-")[0] == 416
    assert ask(address, urlsplit(path).path, "HEAD").headers["content-length"] == str(SIZE)
    assert "media-src 'self';" in ask(address, "/").headers["content-security-policy"]


def test_a_playlist_works_in_a_player_that_cannot_sign_in(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Each of its addresses carries a ticket for itself; without one, or for another address, the token is asked for."""
    mirror = mirror_for(frigate, rclone, **CLIPS, S3_STATUS_PROXY="true", S3_STATUS_TOKEN=TOKEN)
    address, event, segments = mirrored(mirror, frigate)
    assert ask(address, f"/clip/{event.id}.m3u8").status == 401
    links = addresses_in(ask(address, f"/clip/{event.id}.m3u8", Authorization=f"Bearer {TOKEN}").text)
    assert all(link.startswith(address) for link in links)
    assert [fetched(link)[2] for link in links] == [segment.path.read_bytes() for segment in segments]
    first, second = (urlsplit(link) for link in links)
    assert fetched(f"{address}{first.path}")[0] == 401
    assert fetched(f"{address}{first.path}?{second.query}")[0] == 401
    assert fetched(f"{address}/event/{event.id}?{first.query}")[0] == 401


def test_a_key_that_may_not_read_plays_frigates_recordings(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Write-only credentials: the page says so, and a segment is Frigate's, in stretches, as long as it is there."""
    address, event, segments = mirrored(mirror_for(frigate, rclone_proxy, **CLIPS), frigate)
    refusal = Fault(FaultKind.ANSWER, status=403, code="AccessDenied", methods=frozenset({"GET", "HEAD"}))
    rclone_proxy.proxy.inject(refusal)
    assert "Frigate's own recording, as long as it keeps it" in ask(address, f"/event/{event.id}").text
    content = segments[0].path.read_bytes()
    first, second = segment_paths(address, event)
    assert fetched(address + first)[2] == content
    status, headers, body = fetched(address + first, Range="bytes=1000-1999")
    assert (status, headers["content-range"], body) == (206, f"bytes 1000-1999/{SIZE}", content[1000:2000])
    assert fetched(address + first, Range=f"bytes={SIZE}-")[0] == 416
    links = addresses_in(ask(address, f"/clip/{event.id}.m3u8").text)
    assert [link.removeprefix(address) for link in links] == [first, second]
    segments[1].path.unlink()
    assert ask(address, second).status == 404


def test_clips_are_counted_apart(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """In the metrics, in `status` and on the page; the event's page has no row for each segment."""
    mirror = mirror_for(frigate, rclone, **CLIPS)
    address, event, _ = mirrored(mirror, frigate, 3)
    time.sleep(1.1)  # a look is shared for a second
    found = {
        (sample.name.removeprefix("frigate_s3_mirror_"), sample.labels.get("result")): sample.value
        for family in text_string_to_metric_families(ask(address, "/metrics").text)
        for sample in family.samples
    }
    assert found["clip_segments_total", "uploaded"] == 3
    assert found["clip_bytes_total", None] == 3 * SIZE
    assert (found["uploads_total", "uploaded"], found["event_lag_seconds_count", None]) == (1, 1)
    assert found["clip_backlog", None] == 0
    said = json.loads(ask(address, "/api/status").text)
    assert said["clips"]["uploaded"] >= 3
    assert said["counts"]["uploaded"] == 1
    assert f"Clips {said['clips']['uploaded']} files in the bucket, 0 waiting, 0 failed, 0 lost" in (
        mirror.command("status").stdout
    )
    assert "files in the bucket" in ask(address, "/").text
    assert "<dt>Clip</dt>" not in ask(address, f"/event/{event.id}").text


def test_what_runs_now_is_told(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """An event whose first segment is in the bucket has a page already, and is in `status`."""
    mirror = mirror_for(frigate, rclone, **CLIPS)
    mirror.start()
    address = address_of(mirror)
    event = frigate.begin_event(start_time=time.time() - 10)
    frigate.add_segment("yard", event.start_time)
    mirror.wait_for(lambda: ".mp4 size=" in mirror.log())
    mirror.wait_for(lambda: "The event still runs" in ask(address, f"/event/{event.id}").text)
    assert "In progress now: 1 event\n" in mirror.command("status").stdout.replace(" \n", "\n").replace("  ", "")
    assert "1 segment of its clip" in ask(address, "/").text
    frigate.end_event(event)
    mirror.wait_for(lambda: ".jpg size=" in mirror.log())
    assert "In progress now" not in mirror.command("status").stdout
