"""The status page without a browser: who may see it, what programs read there, and that it never holds up the mirror."""

from __future__ import annotations

import contextlib
import html
import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import MakeMirror, RunningMirror, WatchedTarget, ended
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from recording_proxy import Fault, FaultKind
from servers import Target
from status_pages import address_of, ask

TOKEN = "a-token-of-the-tests"
SECRETS = ("testing-secret", TOKEN)


def started(mirror: RunningMirror) -> str:
    mirror.start()
    address = address_of(mirror)
    mirror.wait_for(lambda: ask(address, "/healthz").text == "OK\n")
    return address


def uploads(mirror: RunningMirror, count: int) -> None:
    mirror.wait_for(lambda: mirror.log().count("S3 upload done") >= count)


def test_programs_read_the_same_as_status_says(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """/api/status is `status --json`; /metrics counts what S3 took."""
    mirror = mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0")
    address = started(mirror)
    ended(frigate, 5)
    uploads(mirror, 5)
    time.sleep(1.1)  # a look is shared for a second
    said = json.loads(ask(address, "/api/status").text)
    assert said["counts"]["uploaded"] == 5
    assert said["proof"]["24 h"]["missing"] == 0
    assert set(said) == set(json.loads(mirror.command("status", "--json").stdout))
    families = {family.name: family for family in text_string_to_metric_families(ask(address, "/metrics").text)}
    took = sum(s.value for s in families["frigate_s3_mirror_uploads"].samples if s.name.endswith("_total"))
    assert took == 5
    assert families["frigate_s3_mirror_upload_bytes"].samples
    lags = {s.name.rsplit("_", 1)[1]: s.value for s in families["frigate_s3_mirror_event_lag_seconds"].samples}
    assert lags["count"] == 5
    assert {s.labels["state"]: s.value for s in families["frigate_s3_mirror_health"].samples} == {
        "OK": 1, "DEGRADED": 0, "DOWN": 0
    }  # fmt: skip
    assert {s.labels["window"]: s.value for s in families["frigate_s3_mirror_missing_snapshots"].samples} == {
        "24h": 0, "7d": 0
    }  # fmt: skip


def test_healthz_is_503_with_the_reason(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """While S3 refuses, monitors hear why; when it answers again, they hear OK."""
    mirror = mirror_for(frigate, rclone_proxy, S3_STATUS_LISTEN="127.0.0.1:0")
    address = started(mirror)
    with rclone_proxy.proxy.refusing():
        ended(frigate, 4)
        mirror.wait_for(lambda: ask(address, "/healthz").status == 503)
        assert ask(address, "/healthz").text.startswith("DEGRADED The S3 server refuses connections")
    mirror.wait_for(lambda: ask(address, "/healthz").status == 200)


def test_with_a_token_all_but_healthz_asks_for_it(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """401 without and with a wrong one; the right one as a bearer, or as a session from the form."""
    mirror = mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0", S3_STATUS_TOKEN=TOKEN)
    address = started(mirror)
    event = ended(frigate, 1)[0]
    uploads(mirror, 1)
    paths = (
        "/",
        "/gallery",
        "/problems",
        "/api/status",
        "/metrics",
        "/live",
        f"/event/{event.id}",
        f"/picture/{event.id}",
        "/nothing",
    )
    for path in paths:
        assert ask(address, path).status == 401, path
        assert ask(address, path, Authorization="Bearer wrong").status == 401, path
        assert ask(address, path, Cookie="frigate_s3_mirror_session=a.b").status == 401, path
    assert ask(address, "/retry", "POST", "form_token=x").status == 401
    assert ask(address, "/healthz").status == 200
    assert "front-door" not in ask(address, "/", Accept="text/html").text
    assert ask(address, "/api/status", Authorization=f"Bearer {TOKEN}").status == 200
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    assert ask(address, "/sign-in", "POST", "token=wrong", **form).status == 401
    signed_in = ask(address, "/sign-in", "POST", f"token={TOKEN}", **form)
    cookie = signed_in.headers["set-cookie"].split(";")[0]
    assert signed_in.status == 303
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in signed_in.headers["set-cookie"].split(";")}
    assert ask(address, "/", Cookie=cookie).status == 200
    assert all(secret not in mirror.log() for secret in SECRETS)


def test_guessing_the_token_is_slowed_down(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Form and bearer share the limit: of many guesses at once most are not looked at. The owner gets in all the same."""
    mirror = mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0", S3_STATUS_TOKEN=TOKEN)
    address = started(mirror)
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    cookie = ask(address, "/sign-in", "POST", f"token={TOKEN}", **form).headers["set-cookie"].split(";")[0]
    assert {ask(address, "/sign-in", "POST", f"token={n}", **form).status for n in range(5)} == {401}
    with ThreadPoolExecutor(20) as guessers:
        guesses = guessers.map(lambda n: ask(address, "/api/status", Authorization=f"Bearer {n}").status, range(100))
        assert list(guesses).count(401) <= 15
    assert ask(address, "/", Cookie=cookie).status == 200
    mirror.wait_for(lambda: ask(address, "/", Authorization=f"Bearer {TOKEN}").status == 200)
    mirror.wait_for(lambda: ask(address, "/sign-in", "POST", f"token={TOKEN}", **form).status == 303)


def test_a_deep_link_survives_the_sign_in_and_the_session_ends_when_asked(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """The form remembers what was asked for; signing out takes the session away."""
    mirror = mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0", S3_STATUS_TOKEN=TOKEN)
    address = started(mirror)
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    asked = ask(address, "/gallery?camera=garage&label=a%22b", Accept="text/html")
    target = html.unescape(re.findall(r'name="target" value="([^"]*)"', asked.text)[0])
    fields = urlencode({"token": TOKEN, "target": target})
    signed_in = ask(address, "/sign-in", "POST", fields, **form)
    assert signed_in.headers["location"] == "/gallery?camera=garage&label=a%22b"
    cookie = signed_in.headers["set-cookie"].split(";")[0]
    page = ask(address, "/gallery", Cookie=cookie).text
    token = re.findall(r'name="form_token" value="([^"]*)"', page)[0]
    left = ask(address, "/sign-out", "POST", urlencode({"form_token": token}), Cookie=cookie, **form)
    assert left.status == 303
    assert 'frigate_s3_mirror_session=""' in left.headers["set-cookie"]


def test_connections_that_ask_for_nothing_keep_nobody_out(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """200 half requests: the page answers beside them, and they are closed in time."""
    mirror = mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0")
    address = started(mirror)
    with contextlib.ExitStack() as stack:
        halves = []
        for number in range(200):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1]))))
            half.sendall(b"GET / HTTP/1.1\r\nHost:"[: number % 20])
            halves.append(half)
        assert ask(address, "/healthz").text == "OK\n"
        assert ask(address, "/gallery").status == 200
        for half in halves:
            half.settimeout(30)
            with contextlib.suppress(ConnectionError):
                assert half.recv(1000) == b""  # closed, not answered


def test_other_sites_can_neither_look_nor_press(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """A foreign name (DNS rebinding) is refused; a form that did not come from the page does nothing."""
    address = started(mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0"))
    assert ask(address, "/", Host="evil.example").status == 421
    assert ask(address, "/", Host="localhost:1").status == 200
    page = ask(address, "/problems")
    cookie = page.headers["set-cookie"].split(";")[0]
    assert ask(address, "/retry", "POST", "form_token=guess", Cookie=cookie).status == 403
    assert ask(address, "/retry", "POST", "form_token=").status == 403


def test_every_answer_is_strict(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Nothing may run or load from elsewhere but pictures from the bucket."""
    address = started(mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0"))
    for path in ("/", "/gallery", "/problems", "/nothing", "/static/page.js", "/healthz"):
        answer = ask(address, path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy, path
        assert set(re.findall(r"https?://[^ ;]+", policy)) <= {rclone.endpoint_url}, path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "unsafe" not in policy


def test_a_port_that_is_taken_is_one_sentence(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """The mirror goes on without its page."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        mirror = mirror_for(frigate, rclone, S3_STATUS_LISTEN=f"127.0.0.1:{taken.getsockname()[1]}")
        mirror.start()
        ended(frigate, 1)
        uploads(mirror, 1)
    assert mirror.log().count("S3_STATUS_LISTEN chooses another address, or off") == 1
    assert "Traceback" not in mirror.log()


def test_a_reader_that_never_leaves_does_not_hold_up_the_end(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """An open live stream and a half request end with the service."""
    mirror = mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0")
    address = started(mirror)
    port = int(address.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as live, socket.create_connection(("127.0.0.1", port)) as half:
        live.sendall(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        half.sendall(b"GET /live HTTP/1.1\r\nHost:")
        assert b"text/event-stream" in live.recv(4000)
        began = time.monotonic()
        assert mirror.stop(mirror.processes[-1]) == 0
        assert time.monotonic() - began < 8
    assert "Traceback" not in mirror.log()


def test_a_key_that_may_not_read_shows_frigates_files(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Write-only credentials: the page says so, and the picture is Frigate's, byte for byte."""
    mirror = mirror_for(frigate, rclone_proxy, S3_STATUS_LISTEN="127.0.0.1:0")
    address = started(mirror)
    event = ended(frigate, 1)[0]
    uploads(mirror, 1)
    rclone_proxy.proxy.inject(
        Fault(FaultKind.ANSWER, status=403, code="AccessDenied", methods=frozenset({"GET", "HEAD"}))
    )
    assert "may write to the bucket, but not read" in ask(address, f"/event/{event.id}").text
    picture = ask(address, f"/picture/{event.id}")
    assert (picture.status, picture.headers["content-type"]) == (200, "image/jpeg")
    assert event.snapshot_path is not None
    assert int(picture.headers["content-length"]) == event.snapshot_path.stat().st_size


def test_while_s3_is_away_the_page_shows_frigates_files(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """The page says so, and the pictures are Frigate's, byte for byte; when S3 is back, so are its own."""
    mirror = mirror_for(frigate, rclone_proxy, S3_STATUS_LISTEN="127.0.0.1:0")
    address = started(mirror)
    event = ended(frigate, 1)[0]
    uploads(mirror, 1)
    assert event.snapshot_path is not None
    with rclone_proxy.proxy.refusing():
        mirror.wait_for(lambda: "S3 does not answer now" in ask(address, "/gallery").text)
        picture = ask(address, f"/picture/{event.id}")
        assert (picture.status, picture.headers["content-type"]) == (200, "image/jpeg")
        assert int(picture.headers["content-length"]) == event.snapshot_path.stat().st_size
        assert "S3 does not answer now" in ask(address, f"/event/{event.id}").text
    mirror.wait_for(lambda: ask(address, f"/picture/{event.id}").status == 307)


@pytest.mark.parametrize("proxied", [False, True])
def test_pictures_come_from_the_bucket(
    proxied: bool, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """By a presigned address that works without credentials, or through the service where the browser cannot reach S3."""
    more = {"S3_STATUS_PROXY": "true"} if proxied else {}
    mirror = mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0", **more)
    address = started(mirror)
    event = ended(frigate, 1)[0]
    uploads(mirror, 1)
    assert event.snapshot_path is not None
    size = event.snapshot_path.stat().st_size
    event.snapshot_path.unlink()  # so it can come from the bucket only
    answer = ask(address, f"/picture/{event.id}")
    assert answer.headers["cache-control"].startswith("private, max-age=")
    if proxied:
        again = ask(address, f"/picture/{event.id}", If_None_Match=answer.headers["etag"])
        assert (again.status, again.text) == (304, "")
    else:
        assert answer.status == 307
        link = answer.headers["location"]
        assert link.startswith(rclone.endpoint_url)
        assert "X-Amz-Expires=600" in link
        answer = ask(link, link.removeprefix(rclone.endpoint_url))
    assert (answer.status, int(answer.headers["content-length"])) == (200, size)


def test_lines_can_be_json(rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """S3_LOG_FORMAT=json: every line is an object; an upload's line has its parts as fields."""
    mirror = mirror_for(frigate, rclone_proxy, S3_LOG_FORMAT="json")
    mirror.start()
    event = ended(frigate, 1)[0]
    uploads(mirror, 1)
    assert mirror.stop(mirror.processes[-1]) == 0
    lines = [json.loads(line) for line in mirror.log().splitlines()]
    assert all({"time", "level", "message"} <= set(line) for line in lines)
    (done,) = [line for line in lines if line["message"].startswith("S3 upload done")]
    assert (done["event_id"], done["camera"], done["state"]) == (event.id, event.camera, "uploaded")
    assert done["key"].endswith(".jpg")
    assert done["size_bytes"] > 0
    assert done["lag_seconds"] >= 0
