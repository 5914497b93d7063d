"""Makes the pictures of the README from the real service: `make screenshots`. Needs Chromium and ffmpeg."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.text import Text

from frigate_s3_mirror.demo import pictures
from frigate_s3_mirror.demo.children import free_port
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.mirror_process import MirrorProcess, mirror_environment
from frigate_s3_mirror.demo.simulated_api import FrigateHttp
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
CAMERAS = ("front-door", "garage", "yard")
LABELS = ("person", "car", "person", "person")
# The site of rich's own template would be asked for a font by whoever looks at the picture.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg"><style>
.{unique_id}-matrix {{ font-family: ui-monospace, 'DejaVu Sans Mono', monospace; font-size: {char_height}px; line-height: {line_height}px; }}
{styles}</style><defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g></svg>
"""


def main() -> None:
    """Run the service on a day's worth of events and look at it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or shutil.which("ffmpeg") is None:
        sys.exit("Chromium or ffmpeg is not installed (Debian's packages chromium and ffmpeg).")
    IMAGES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="screenshots-") as folder,
        served(Path(folder)) as (address, event, environment),
    ):
        terminal(environment, "status")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            )
            page(browser, f"{address}/", "overview", height=1500)
            page(browser, f"{address}/", "overview-dark", scheme="dark", height=1500)
            page(browser, f"{address}/gallery", "gallery", height=820)
            page(browser, f"{address}/event/{event.id}", "running", height=1150)
            page(browser, f"{address}/", "phone", width=390, height=844, scale=2)
            icon(browser)
            browser.close()


@contextmanager
def served(root: Path) -> Iterator[tuple[str, SimulatedEvent, dict[str, str]]]:
    """The address of a mirror that has sent a day's events, an event that still runs, and the mirror's environment."""
    with (
        EmbeddedS3(root / "s3", bucket="snapshots") as s3,
        SimulatedFrigate(root, "0.17", cameras=CAMERAS) as frigate,
        FrigateHttp("open", frigate) as api,
    ):
        list(frigate.bulk(900, 60_000, 1))
        environment = mirror_environment(
            s3, frigate, S3_STATUS_LISTEN=f"127.0.0.1:{free_port()}", S3_SITE="farmhouse", COLUMNS="80",
            FRIGATE_URL=api.url, S3_LIVE="true", S3_LIVE_INTERVAL="1s", S3_ARTIFACTS="snapshot,clip",
        )  # fmt: skip
        subprocess.run(
            [sys.executable, "-m", "frigate_s3_mirror", "run", "--once"], env=environment, check=True, capture_output=True
        )  # fmt: skip
        as_if_it_had_run_all_day(frigate.db_path.parent / ".s3-mirror" / "ledger.db")
        mirror = MirrorProcess(environment, root / "mirror.log")
        mirror.start()
        try:
            for number in range(48):
                event = frigate.begin_event(camera=CAMERAS[number % 3], label=LABELS[number % 4])
                frigate.end_event(event, delay=0.01)
            yield f"http://{environment['S3_STATUS_LISTEN']}", burglar(frigate, api), environment
        finally:
            mirror.stop()


def burglar(frigate: SimulatedFrigate, api: FrigateHttp) -> SimulatedEvent:
    """An event that has been running for half a minute, with its film and three pictures so far."""
    seconds, began = 30, int(time.time()) - 30
    event = frigate.begin_event(camera="yard", start_time=began)
    for offset in range(0, seconds, 10):
        frigate.add_segment("yard", began + offset, content=film("yard", began + offset, 10))
    for offset in (5, 15, 25):
        taken_at = datetime.fromtimestamp(began + offset, UTC).astimezone()
        api.pictures[event.id] = pictures.picture("yard", "person", taken_at, "jpg", annotated=False)
        time.sleep(2.5)
    return event


def film(camera: str, began: float, seconds: int) -> bytes:
    """A segment as Frigate records it."""
    rate = 5
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        coding = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
        frames = b"".join(
            pictures.picture(camera, "person", datetime.fromtimestamp(began + n / rate, UTC).astimezone(), "jpg", annotated=False)
            for n in range(seconds * rate)
        )  # fmt: skip
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-y",
            "-f",
            "image2pipe",
            "-framerate",
            str(rate),
            "-i",
            "-",
            *coding,
            file.name,
        ]
        subprocess.run(command, input=frames, check=True)
        return Path(file.name).read_bytes()


def as_if_it_had_run_all_day(ledger: Path) -> None:
    """The simulated day is over in a second; its uploads are put where they would have been."""
    connection = sqlite3.connect(ledger)
    connection.execute(
        "UPDATE object SET uploaded_at = happened_at + 0.1 WHERE abs(random() % 10) < 9 OR happened_at % 7200 < 3600"
    )
    connection.commit()
    connection.close()


def terminal(environment: dict[str, str], command: str) -> None:
    """A command's output as a drawing."""
    done = subprocess.run(
        [sys.executable, "-m", "frigate_s3_mirror", command],
        env={**environment, "FORCE_COLOR": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    with Path(os.devnull).open("w") as nothing:
        console = Console(record=True, width=80, file=nothing, force_terminal=True)
        console.print(Text.from_ansi(f"$ frigate-s3-mirror {command}\n{done.stdout}"))
        (IMAGES / f"{command}.svg").write_text(console.export_svg(title="", code_format=SVG))


def page(
    browser: Browser, address: str, name: str, *, scheme: str = "light", width: int = 1100, height: int, scale: int = 1
) -> None:
    """A page as a picture."""
    context = browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": width, "height": height}, device_scale_factor=scale,
    )  # fmt: skip
    window = context.new_page()
    window.goto(address)
    window.wait_for_timeout(2500)
    window.screenshot(path=IMAGES / f"{name}.png")
    context.close()


def icon(browser: Browser) -> None:
    """The page's own icon in the form and size that Home Assistant wants."""
    window = browser.new_page(viewport={"width": 128, "height": 128})
    svg = (ROOT / "src/frigate_s3_mirror/web/static/icon.svg").read_text()
    window.set_content(f"<style>body {{ margin: 0 }} svg {{ display: block; width: 128px }}</style>{svg}")
    window.screenshot(path=ROOT / "deploy/home-assistant/icon.png", omit_background=True)
    window.close()


if __name__ == "__main__":
    main()
