"""Clips in a real browser: real videos, sent by the real service, played from a real S3 server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from conftest import MakeMirror, RunningMirror, WatchedTarget
from e2e.conftest import OpenWindow
from e2e.test_pages import violations
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from recording_proxy import Fault, FaultKind
from servers import Target
from status_pages import address_of
from videos import SECONDS, recorded

CLIPS = {"S3_ARTIFACTS": "snapshot,clip", "S3_CLIP_PRE": "0", "S3_CLIP_POST": "0", "S3_STATUS_LISTEN": "127.0.0.1:0"}
WATCHED = """() => {
    window.seen = [];
    const video = document.querySelector('video');
    for (const kind of ['playing', 'ended']) {
        video.addEventListener(kind, () => window.seen.push([kind, video.currentSrc.split('/').pop().split('?')[0]]));
    }
}"""


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("yard",)) as simulated:
        yield simulated


def running(frigate: SimulatedFrigate) -> SimulatedEvent:
    """An event that began some seconds ago."""
    return frigate.begin_event(start_time=time.time() - 4 * SECONDS)


def mirrored(mirror: RunningMirror, frigate: SimulatedFrigate) -> tuple[str, SimulatedEvent]:
    """The address of a mirror that has sent an event with its clip of three segments, which only the bucket has."""
    mirror.start()
    address = address_of(mirror)
    event = running(frigate)
    segments = recorded(frigate, event)
    frigate.end_event(event)
    mirror.wait_for(lambda: mirror.log().count(".mp4 size=") == 3 and ".jpg size=" in mirror.log())
    for segment in segments:
        segment.path.unlink()
    return address, event


def names(page: Page) -> list[str]:
    """The segments on the page, in their order."""
    return [str(link.get_attribute("href")).rsplit("/", 1)[1] for link in page.locator(".parts a").all()]


def ended(page: Page) -> list[str]:
    """The segments that were played to their end."""
    return [name for kind, name in page.evaluate("window.seen") if kind == "ended"]


def until(page: Page, condition: str, seconds: float = 30.0) -> None:
    """Wait for an expression to be true; the page's policy allows Playwright's own waiting as little as anybody's eval."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, (condition, page.evaluate("window.seen"))
        page.wait_for_timeout(50)


def until_ended(page: Page, count: int) -> None:
    """Wait until so many segments were played to their end."""
    until(page, f"window.seen.filter(([kind]) => kind === 'ended').length >= {count}")


@pytest.mark.parametrize("proxied", [False, True])
def test_the_segments_play_one_after_the_other(
    proxied: bool, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """From the bucket by presigned addresses, or through the service; all to their end, and the page says which."""
    more = {**CLIPS, "S3_STATUS_PROXY": "true"} if proxied else CLIPS
    address, event = mirrored(mirror_for(frigate, rclone, **more), frigate)
    visit = window()
    page = visit.page
    page.goto(f"{address}/event/{event.id}")
    expect(page.locator("[data-now]")).to_have_text("Segment 1 of 3")
    page.evaluate(WATCHED)
    page.locator("video").evaluate("video => video.play()")
    expect(page.locator("[data-now]")).to_have_text("Segment 3 of 3", timeout=20_000)
    until_ended(page, 3)
    assert ended(page) == names(page)
    expect(page.locator(".parts a").nth(2)).to_have_attribute("aria-current", "true")
    assert visit.hosts == ({address} if proxied else {address, rclone.endpoint_url})
    assert visit.complaints == []


@pytest.mark.parametrize("proxied", [False, True])
def test_a_viewer_jumps_by_mouse_and_keyboard(
    proxied: bool, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """To a segment, to the next and the one before, and within a segment."""
    more = {**CLIPS, "S3_STATUS_PROXY": "true"} if proxied else CLIPS
    address, event = mirrored(mirror_for(frigate, rclone, **more), frigate)
    visit = window(width=360, height=740)
    page = visit.page
    page.goto(f"{address}/event/{event.id}")
    now, video = page.locator("[data-now]"), page.locator("video")
    page.locator(".parts a").nth(2).click()
    expect(now).to_have_text("Segment 3 of 3")
    assert page.url.endswith(event.id)
    page.get_by_role("button", name="Previous").press("Enter")
    expect(now).to_have_text("Segment 2 of 3")
    page.locator(".parts a").first.press("Enter")
    expect(now).to_have_text("Segment 1 of 3")
    until(page, "document.querySelector('video').readyState >= 3")
    video.evaluate("video => { video.pause(); video.currentTime = 1.5; }")
    until(page, "!document.querySelector('video').seeking")
    assert video.evaluate("video => video.currentTime") == pytest.approx(1.5, abs=0.11)
    video.focus()
    page.keyboard.press("Space")
    until(page, "!document.querySelector('video').paused")
    assert visit.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_watch(
    scheme: str, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """No finding of axe-core's, also on a phone; nothing is wider than it."""
    address, event = mirrored(mirror_for(frigate, rclone, **CLIPS), frigate)
    for visit in (window(scheme=scheme), window(scheme=scheme, width=360, height=740)):
        for path in ("/", f"/event/{event.id}"):
            visit.page.goto(address + path)
            assert violations(visit.page) == []
            assert visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_a_clip_is_watched_while_it_grows(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """The overview leads to an event that runs; what comes after the last known segment is played by itself."""
    mirror = mirror_for(frigate, rclone, **CLIPS)
    mirror.start()
    address = address_of(mirror)
    event = running(frigate)
    recorded(frigate, event, ("red",))
    visit = window()
    page = visit.page
    page.goto(address)
    expect(page.locator(".progress")).to_contain_text("1 segment of its clip", timeout=20_000)
    page.locator(".progress a").click()
    expect(page.locator(".clip")).to_contain_text("The event still runs")
    page.evaluate(WATCHED)
    page.locator("video").evaluate("video => video.play()")
    until(page, "document.querySelector('video').ended")
    recorded(frigate, event, ("green",), first=1)
    until_ended(page, 2)
    assert ended(page) == names(page)
    expect(page.locator("[data-now]")).to_have_text("Segment 2 of 2")
    assert visit.complaints == []


def test_a_segment_that_is_gone_is_marked_and_passed(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """The others are played."""
    address, event = mirrored(mirror_for(frigate, rclone_proxy, **CLIPS), frigate)
    page = window().page
    page.goto(f"{address}/event/{event.id}")
    first, second, third = names(page)
    rclone_proxy.proxy.inject(
        Fault(FaultKind.ANSWER, status=404, code="NoSuchKey", methods=frozenset({"GET"}), path_part=second)
    )
    page.evaluate(WATCHED)
    page.locator("video").evaluate("video => video.play()")
    until_ended(page, 2)
    assert ended(page) == [first, third]
    expect(page.locator(".parts a.bad")).to_have_count(1)


def test_without_script_each_segment_is_a_link(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """It opens in the browser's own player; buttons that would do nothing are not there."""
    address, event = mirrored(mirror_for(frigate, rclone, **CLIPS), frigate)
    visit = window(script=False)
    page = visit.page
    page.goto(f"{address}/event/{event.id}")
    expect(page.get_by_role("button", name="Next")).to_have_count(0)
    assert len(names(page)) == 3
    page.locator(".parts a").nth(1).click()
    page.wait_for_url(f"{rclone.endpoint_url}/**")


@pytest.mark.parametrize("proxied", [False, True])
def test_what_was_loaded_ahead_is_not_fetched_again(
    proxied: bool, moto_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """The bucket is asked for a segment once: both it and the service say how long an answer may be kept."""
    more = {**CLIPS, "S3_STATUS_PROXY": "true"} if proxied else CLIPS
    address, event = mirrored(mirror_for(frigate, moto_proxy, **more), frigate)
    page = window().page
    page.goto(f"{address}/event/{event.id}")
    moto_proxy.proxy.forget()
    page.evaluate(WATCHED)
    page.locator("video").evaluate("video => video.play()")
    until_ended(page, 3)
    asked = [e.path.rsplit("/", 1)[1] for e in moto_proxy.proxy.requests("GET") if e.path.endswith(".mp4")]
    assert sorted(asked) == [f"{name}.mp4" for name in names(page)[1:]]
