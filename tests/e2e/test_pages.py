"""The pages in a real browser, the real service behind them, and a real S3 server behind that."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from conftest import MakeMirror, RunningMirror, WatchedTarget
from e2e.conftest import OpenWindow
from frigate_s3_mirror.demo.simulated_api import FrigateHttp
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from recording_proxy import Fault, FaultKind
from servers import Target
from status_pages import address_of

PAGES = ("/", "/gallery", "/problems", "/nothing-here")
TOKEN = "a-token-of-the-tests"


def served(mirror: RunningMirror, frigate: SimulatedFrigate, count: int) -> tuple[str, list[SimulatedEvent]]:
    """The address of a mirror that has sent so many events."""
    mirror.start()
    address = address_of(mirror)
    events = [frigate.end_event(frigate.begin_event(), delay=0.001) for _ in range(count)]
    mirror.wait_for(lambda: mirror.log().count("S3 upload done") >= count)
    return address, events


def is_shown(page: Page, selector: str) -> bool:
    """Whether the picture comes and has pixels; waits for the page to have it."""
    picture = page.locator(selector).first
    return bool(picture.evaluate("i => i.decode().then(() => i.naturalWidth > 0, () => false)"))


def violations(page: Page) -> list[str]:
    """What axe-core finds, a line each."""
    found = Axe().run(page).response["violations"]
    return [f"{page.url} {v['id']}: {[node['target'] for node in v['nodes']]}" for v in found]


def test_the_overview_answers_at_a_glance_and_lives(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """Health, proof, counts and the last picture; a new event appears without a reload, and nobody else is asked."""
    address, _ = served(mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0"), frigate, 3)
    visit = window()
    page = visit.page
    page.goto(address)
    expect(page.locator("#health")).to_have_text("OK")
    expect(page.locator(".proof")).to_contain_text("3 in the bucket (3 with a matching checksum), 0 missing")
    assert is_shown(page, ".newest img")
    frigate.end_event(frigate.begin_event(camera="yard"))
    expect(page.locator(".proof")).to_contain_text("4 in the bucket", timeout=10_000)
    expect(page.locator("dd time").first).to_have_text(re.compile(r"^\d+ s ago$"))
    page.get_by_text("Settings").click()
    expect(page.locator(".settings")).to_contain_text(rclone.bucket)
    assert rclone.secret_key not in page.content()
    assert visit.hosts == {address, rclone.endpoint_url}
    assert visit.complaints == []


def test_the_overview_tells_of_an_outage(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """The word, the reason and the backlog change by themselves, there and back."""
    address, _ = served(mirror_for(frigate, rclone_proxy, S3_STATUS_LISTEN="127.0.0.1:0"), frigate, 1)
    page = window().page
    page.goto(address)
    expect(page.locator("#health")).to_have_text("OK")
    with rclone_proxy.proxy.refusing():
        for _ in range(4):
            frigate.end_event(frigate.begin_event())
        expect(page.locator("#health")).to_have_text("DEGRADED", timeout=15_000)
        expect(page.locator(".health")).to_contain_text("The S3 server refuses connections")
        expect(page).to_have_title(re.compile("^DEGRADED"))
    expect(page.locator("#health")).to_have_text("OK", timeout=30_000)


def test_the_gallery_filters_pages_and_opens_a_picture(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """60 pictures on two pages; by camera, label, day and state; a click shows what is known of one."""
    more = {"S3_STATUS_LISTEN": "127.0.0.1:0", "FRIGATE_UI_URL": "http://frigate.example:5000/"}
    address, _ = served(mirror_for(frigate, rclone, **more), frigate, 60)
    visit = window()
    page = visit.page
    page.goto(address + "/gallery")
    pictures = page.locator(".gallery li")
    expect(pictures).to_have_count(48)
    first = {item.get_attribute("href") for item in page.locator(".gallery a").all()}
    page.get_by_role("link", name="Older").click()
    expect(pictures).to_have_count(12)
    assert not first & {item.get_attribute("href") for item in page.locator(".gallery a").all()}
    page.get_by_role("link", name="Newest").click()
    page.get_by_label("Camera").select_option("yard")
    expect(page).to_have_url(re.compile("camera=yard"))
    expect(page.locator(".gallery li span").filter(has_text="front-door")).to_have_count(0)
    assert pictures.count() > 0
    page.get_by_label("Day").fill("2001-01-01")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("No snapshots match.")).to_be_visible()
    page.goto(address + "/gallery?state=failed")
    expect(page.get_by_text("No snapshots match.")).to_be_visible()
    page.goto(address + "/gallery?label=person&camera=nonsense&state=<b>&day=x&after=y")
    expect(page.get_by_text("No snapshots match.")).to_be_visible()
    page.goto(address + "/gallery")
    assert is_shown(page, ".gallery img")
    page.locator(".gallery a").first.click()
    assert is_shown(page, ".picture img")
    expect(page.locator(".facts")).to_contain_text(re.compile(r"frigate/snapshots/(front-door|yard)/\d{4}-\d\d-\d\d/"))
    expect(page.locator(".facts")).to_contain_text(re.compile("[0-9a-f]{64}"))
    event_id = page.url.rsplit("/", 1)[1].split("?")[0]
    expect(page.get_by_role("link", name="Open in Frigate")).to_have_attribute(
        "href", f"http://frigate.example:5000/explore?event_id={event_id}"
    )
    assert visit.complaints == []


def test_a_button_tries_again_what_was_given_up(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """Refused uploads are one group with its reason; after the cause is gone, the button sends them."""
    mirror = mirror_for(frigate, rclone_proxy, S3_STATUS_LISTEN="127.0.0.1:0", S3_MAX_FAILED_RETRIES="1")
    address, _ = served(mirror, frigate, 1)
    rclone_proxy.proxy.inject(Fault(FaultKind.ANSWER, status=400, code="InvalidArgument", path_part="/yard/"))
    for _ in range(2):
        frigate.end_event(frigate.begin_event(camera="yard"))
    mirror.wait_for(lambda: "S3 takes no object at all" in mirror.log())
    frigate.end_event(frigate.begin_event(camera="front-door"))  # S3 takes others: so it is these that it refuses
    mirror.wait_for(lambda: mirror.log().count("S3 upload failed") == 2, 60)
    visit = window()
    page = visit.page
    page.goto(address + "/problems")
    expect(page.get_by_role("heading", name="2 given up")).to_be_visible()
    rclone_proxy.proxy.heal()
    page.get_by_role("button", name="Try these again").click()
    expect(page.get_by_role("status")).to_have_text("2 will be tried again within seconds.")
    mirror.wait_for(lambda: mirror.log().count("S3 upload done") == 4)
    page.goto(address + "/problems")
    expect(page.get_by_text("Nothing failed, nothing is lost")).to_be_visible()
    assert visit.complaints == []


def test_the_token_is_asked_for_once(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """A wrong one is told; the right one leads in, and the session stays."""
    mirror = mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0", S3_STATUS_TOKEN=TOKEN)
    address, _ = served(mirror, frigate, 1)
    page = window().page
    page.goto(address)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("Token").fill("something else")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("That is not the token")
    assert violations(page) == []
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#health")).to_have_text("OK")
    page.goto(address + "/gallery")
    assert is_shown(page, ".gallery img")
    page.context.clear_cookies()
    page.goto(address + "/gallery")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(
    scheme: str, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """No page has a finding of axe-core's, in light and dark, and none is wider than a phone."""
    address, events = served(mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0"), frigate, 3)
    wide, phone = window(scheme=scheme), window(scheme=scheme, width=360, height=740)
    backgrounds = set()
    for path in (*PAGES, f"/event/{events[0].id}"):
        for visit in (wide, phone):
            visit.page.goto(address + path)
            assert violations(visit.page) == []
            overflow = visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, (path, overflow)
            backgrounds.add(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    (background,) = backgrounds
    brightness = sum(int(part) for part in re.findall(r"\d+", background)[:3]) / 3
    assert (brightness > 128) == (scheme == "light")


def test_the_keyboard_reaches_everything(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """The first stop leads past the navigation, and each stop is visible."""
    address, _ = served(mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0"), frigate, 1)
    page = window().page
    page.goto(address + "/gallery")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    stops = []
    for _ in range(5):  # the sixth is the calendar's button inside of the date field, which draws its own
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.tagName"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", stops
    assert stops[:2] == ["SELECT", "SELECT"]


def test_what_runs_now_is_seen_and_stays_beside_the_final_picture(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, window: OpenWindow
) -> None:
    """A running event appears by itself, with its picture out of the bucket; when it ended, its page has both."""
    with FrigateHttp() as api:
        more = {"S3_STATUS_LISTEN": "127.0.0.1:0", "S3_LIVE": "true", "FRIGATE_URL": api.url}
        mirror = mirror_for(frigate, rclone, **more)
        address, _ = served(mirror, frigate, 1)
        visit = window()
        page = visit.page
        page.goto(address)
        expect(page.get_by_role("heading", name="In progress now")).to_have_count(0)
        event = frigate.begin_event(camera="yard")
        api.pictures[event.id] = next(frigate.clips_dir.glob("*.jpg")).read_bytes() + b"live"
        expect(page.get_by_role("heading", name="In progress now")).to_be_visible(timeout=15_000)
        assert is_shown(page, ".progress img")
        assert violations(page) == []
        frigate.end_event(event)
        expect(page.get_by_role("heading", name="In progress now")).to_have_count(0, timeout=15_000)
        page.goto(f"{address}/event/{event.id}")
        expect(page.get_by_role("heading", name="While it ran")).to_be_visible()
        assert is_shown(page, ".gallery img")
        assert visit.complaints == []
