"""Which onlookers the settings ask for; what is not asked for is not even imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.health import Vital
from frigate_s3_mirror.ledger_file import FILE_NAME
from frigate_s3_mirror.observers import Observer
from frigate_s3_mirror.settings import Settings

if TYPE_CHECKING:
    from frigate_s3_mirror.api_loop import ApiLoop
    from frigate_s3_mirror.frigate_messages import Hinted
    from frigate_s3_mirror.live import LivePictures


def companions(
    settings: Settings, clock: Clock, api: ApiLoop | None = None, vital: Callable[[], Vital] | None = None
) -> list[Observer]:
    """The onlookers of a running service; `api` is its eye where that is Frigate's API, `vital` says how it does now."""
    found: list[Observer] = []
    tell: Callable[[str, str], object] = _nobody
    if settings.status_address is not None:
        from frigate_s3_mirror.web.server import StatusPage

        page = StatusPage(settings, settings.status_address, vital)
        found.append(page)
        tell = page.live_picture
    if settings.mqtt_url is not None:
        from frigate_s3_mirror.mqtt import HomeAssistantLink

        found.append(HomeAssistantLink(settings, clock, vital))
    if settings.notify_url is not None:
        from frigate_s3_mirror.notify import Notifier

        found.append(Notifier(settings, clock))
    if settings.heartbeat_url is not None:
        from frigate_s3_mirror.watchdog import Watchdog

        found.append(Watchdog(settings.heartbeat_url.get_secret_value(), clock))
    hinted: list[Hinted] = [api] if api is not None else []
    if settings.live:
        live = _live(settings, clock, tell)
        found.append(live)
        hinted.append(live)
        if api is not None:
            api.on_rows = live.look_now
    if settings.mqtt_url is not None and hinted:
        from frigate_s3_mirror.frigate_messages import FrigateMessages

        found.append(FrigateMessages(settings, hinted, clock))
    return found


def _live(settings: Settings, clock: Clock, tell: Callable[[str, str], object]) -> LivePictures:
    from frigate_s3_mirror.frigate_api import FrigateApi
    from frigate_s3_mirror.live import LivePictures
    from frigate_s3_mirror.live_ledger import LiveLedger

    return LivePictures(settings, FrigateApi(settings), LiveLedger(settings.ledger_dir / FILE_NAME), clock, tell)


def _nobody(_camera: str, _result: str) -> None:
    """Nobody counts."""
