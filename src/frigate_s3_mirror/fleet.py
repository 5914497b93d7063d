"""`fleet`: how all sites do, read from the heartbeat objects in the bucket.

A heartbeat lies in `.mirror/` under its site's prefix. Sites of one owner have the same prefix, or prefixes beside each
other, so looking beside and above one's own prefix finds them with a few small listings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from frigate_s3_mirror.health import Health
from frigate_s3_mirror.s3 import ObjectStore
from frigate_s3_mirror.s3_errors import StoreError

SILENT = "SILENT"
UNREADABLE = "UNREADABLE"
STARTING = "STARTING"
_FOLDER = ".mirror"
_GRACE = 60.0  # seconds beside two intervals, for slow requests and clocks that differ
_ORDER = (SILENT, UNREADABLE, Health.DOWN, Health.DEGRADED, STARTING, Health.OK)


class Heartbeat(BaseModel):
    """What a site says of itself; times are unix seconds. Fields of newer versions are passed over."""

    site: str
    version: str
    at: float
    interval: float = 900.0
    health: Health = Health.OK
    reason: str = ""
    health_since: float | None = None
    started_at: float | None = None
    backlog: int = 0
    lag_seconds: float = 0.0
    failed: int = 0
    expired: int = 0
    missing_24h: int | None = None
    starting: bool = False
    """What was there at its start is not compared and sent yet."""
    last_upload_at: float | None = None
    last_upload_key: str | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """One heartbeat object and what it means now."""

    key: str
    state: str
    """SILENT, UNREADABLE, STARTING, or the health that it bears."""
    said: Heartbeat | None
    reason: str

    @property
    def is_well(self) -> bool:
        """Whether nobody needs to look after it."""
        return self.state in {Health.OK, STARTING}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        said = self.said.model_dump(mode="json") if self.said else {}
        return {**said, "key": self.key, "state": self.state, "reason": self.reason}


def judge(key: str, content: bytes, now: float) -> Site:
    """What an object under `.mirror/` means."""
    try:
        said = _harmless(Heartbeat.model_validate(json.loads(content)))
    except (ValueError, ValidationError):
        return Site(key, UNREADABLE, None, "This is no heartbeat of the mirror's.")
    silence = now - said.at
    if silence > 2 * said.interval + _GRACE:
        return Site(key, SILENT, said, f"Its last words: {said.health}. {said.reason}".strip())
    if said.starting and said.health is Health.OK:
        return Site(key, STARTING, said, "It compares what Frigate has with the bucket, and sends what is missing.")
    return Site(key, said.health, said, said.reason)


def _harmless(said: Heartbeat) -> Heartbeat:
    """Who may write to the bucket must not be able to write to the terminal of who reads it."""
    texts = {name: _printable(getattr(said, name)) for name in ("site", "version", "reason")}
    return said.model_copy(update=texts)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def silent_first(sites: list[Site]) -> list[Site]:
    """In the order in which people want to read them; among the silent the longest first."""
    return sorted(sites, key=lambda site: (_ORDER.index(site.state), site.said.at if site.said else 0.0, site.key))


def read_fleet(store: ObjectStore, prefix: str, now: float, *, everywhere: bool = False) -> list[Site]:
    """All sites. Raises StoreError when nothing may be listed."""
    keys = sorted(set(_everywhere(store) if everywhere else _nearby(store, prefix)))
    return silent_first([_read(store, key, now) for key in keys])


def _read(store: ObjectStore, key: str, now: float) -> Site:
    try:
        return judge(key, store.get(key), now)
    except StoreError as error:
        return Site(key, UNREADABLE, None, str(error))


def _everywhere(store: ObjectStore) -> Iterator[str]:
    for page in store.list(""):
        yield from (item.key for item in page if _is_heartbeat(item.key))


def _nearby(store: ObjectStore, prefix: str) -> Iterator[str]:
    """Below the prefix, beside it, and above it; what may not be listed is passed over while something may."""
    parts = prefix.split("/") if prefix else []
    places = ["/".join(parts[:length]) for length in range(len(parts), -1, -1)]
    refusals: list[StoreError] = []
    for place in places:
        try:
            folders = {place, *store.folders(place)} - {_in_folder(place)}
            for folder in sorted(folders):
                for page in store.list(f"{_in_folder(folder)}/"):
                    yield from (item.key for item in page if _is_heartbeat(item.key))
        except StoreError as error:
            if error.status not in {401, 403}:
                raise
            refusals.append(error)
    if len(refusals) == len(places):
        raise refusals[0]


def _in_folder(folder: str) -> str:
    return f"{folder}/{_FOLDER}".strip("/")


def _is_heartbeat(key: str) -> bool:
    *folders, name = key.split("/")
    return bool(folders) and folders[-1] == _FOLDER and name.endswith(".json") and not name.startswith("doctor-")
