"""What Home Assistant is told over MQTT: the topics, the device with its entities, the state. Pure, and knows no broker.

The device is announced in one message, which Home Assistant understands since 2024.12, see
https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from frigate_s3_mirror import __version__
from frigate_s3_mirror.health import Health
from frigate_s3_mirror.keys import local_time
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.status import Status

ONLINE, OFFLINE = "online", "offline"
PRESS = "PRESS"
_NAME = "frigate-s3-mirror"
_DIAGNOSTIC = {"entity_category": "diagnostic"}
"""Keeps figures off the dashboards that Home Assistant makes by itself; health and problem stay on them."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Where everything is said; `birth` is Home Assistant's own."""

    discovery: str
    availability: str
    state: str
    retry: str
    birth: str


def site_slug(site: str) -> str:
    """The site as part of a topic and of ids; what has other letters than ASCII stays different from its like."""
    slug = re.sub(r"[^a-z0-9]+", "_", site.lower()).strip("_")
    if not site.isascii():
        slug = f"{slug}_{hashlib.sha256(site.encode()).hexdigest()[:6]}".strip("_")
    return slug or "site"


def device_id(site: str) -> str:
    """The name of the device among all that Home Assistant knows."""
    return f"frigate_s3_mirror_{site_slug(site)}"


def topics_for(settings: Settings) -> Topics:
    """The topics of this site."""
    prefix, base = settings.mqtt_discovery_prefix, f"{_NAME}/{site_slug(settings.site)}"
    return Topics(
        discovery=f"{prefix}/device/{device_id(settings.site)}/config",
        availability=f"{base}/availability", state=f"{base}/state", retry=f"{base}/retry", birth=f"{prefix}/status",
    )  # fmt: skip


# -- the device --------------------------------------------------------------------------------------------------------


def discovery(settings: Settings) -> str:
    """The message that makes one device with all its entities appear."""
    topics, device = topics_for(settings), device_id(settings.site)
    components = {**_sensors(topics), "problem": _problem(topics), "retry": _retry_button(topics)}
    return _json({
        "device": {
            "identifiers": [device], "name": f"Frigate S3 mirror {settings.site}", "manufacturer": _NAME,
            "model": "S3 snapshot mirror", "sw_version": __version__,
        },
        "origin": {"name": _NAME, "sw_version": __version__},
        "availability_topic": topics.availability, "payload_available": ONLINE, "payload_not_available": OFFLINE,
        "components": {name: {**part, "unique_id": f"{device}_{name}"} for name, part in components.items()},
    })  # fmt: skip


def _sensors(topics: Topics) -> dict[str, dict[str, Any]]:
    counted = {"state_class": "measurement", **_DIAGNOSTIC}
    return {
        "health": _sensor(
            topics, "Health", "health", "mdi:cloud-check", device_class="enum", options=[health.value for health in Health],
            json_attributes_topic=topics.state,
            json_attributes_template="{{ {'reason': value_json.reason, 'since': value_json.health_since} | tojson }}",
        ),
        "missing_24h": _sensor(topics, "Missing in 24 h", "missing_24h", "mdi:image-off", **counted),
        "backlog": _sensor(topics, "Backlog", "backlog", "mdi:tray-full", **counted),
        "lag": _sensor(
            topics, "Lag", "lag_seconds", None, device_class="duration", unit_of_measurement="s", **counted
        ),
        "last_upload": _sensor(
            topics, "Last upload", "last_upload_at", None, device_class="timestamp", json_attributes_topic=topics.state,
            json_attributes_template="{{ {'key': value_json.last_upload_key} | tojson }}", **_DIAGNOSTIC,
        ),
        "uploads_today": _sensor(
            topics, "Uploads today", "uploads_today", "mdi:cloud-upload", state_class="total_increasing", **_DIAGNOSTIC
        ),
        "failed": _sensor(topics, "Failed", "failed", "mdi:cloud-alert", **counted),
        "expired": _sensor(topics, "Expired", "expired", "mdi:image-broken", **counted),
    }  # fmt: skip


def _sensor(topics: Topics, name: str, field: str, icon: str | None, **more: Any) -> dict[str, Any]:
    shown = {"icon": icon} if icon else {}
    template = f"{{{{ value_json.{field} }}}}"
    return {
        "platform": "sensor",
        "name": name,
        "state_topic": topics.state,
        "value_template": template,
        **shown,
        **more,
    }


def _problem(topics: Topics) -> dict[str, Any]:
    return {
        "platform": "binary_sensor", "name": "Problem", "device_class": "problem", "state_topic": topics.state,
        "value_template": "{{ value_json.problem }}", "payload_on": "ON", "payload_off": "OFF",
    }  # fmt: skip


def _retry_button(topics: Topics) -> dict[str, Any]:
    return {
        "platform": "button", "name": "Retry failed", "icon": "mdi:cloud-refresh",
        "command_topic": topics.retry, "payload_press": PRESS, **_DIAGNOSTIC,
    }  # fmt: skip


# -- the state ---------------------------------------------------------------------------------------------------------


def state(status: Status, uploads_today: int) -> str:
    """What the entities show."""
    day = (status.proof or {}).get("24 h")
    return _json({
        "health": status.health,
        "reason": status.reason,
        "health_since": _iso(status.health_since),
        "problem": "OFF" if status.health == Health.OK else "ON",
        "missing_24h": None if day is None else day.missing,
        "backlog": status.backlog,
        "lag_seconds": round(status.lag_seconds, 1),
        "last_upload_at": _iso(status.last_upload_at),
        "last_upload_key": status.last_upload_key,
        "uploads_today": uploads_today,
        "failed": status.counts.get(State.FAILED, 0),
        "expired": status.counts.get(State.EXPIRED, 0),
    })  # fmt: skip


def midnight(now: float, timezone: str | None) -> float:
    """When the day of `now` began (unix seconds), in this time zone or the machine's own."""
    began = local_time(now, timezone).replace(hour=0, minute=0, second=0, microsecond=0)
    # The machine's own zone comes as the offset of now, which need not have been that of midnight.
    return (began if timezone else began.replace(tzinfo=None)).timestamp()


def _iso(unix_seconds: float | None) -> str | None:
    return None if unix_seconds is None else datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="seconds")


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
