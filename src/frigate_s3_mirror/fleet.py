"""`fleet`: how all sites do, read from the heartbeat objects in the bucket.

A heartbeat lies in `.mirror/` under its site's prefix. Sites of one owner have the same prefix, or prefixes beside each
other, so looking beside and above one's own prefix finds them with a few small listings. What a heartbeat says passes the
gate: one that is damaged or hostile is a line of its own, and never hides the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from frigate_s3_mirror.health import Health
from frigate_s3_mirror.runtime.untrusted import (
    RefusedValueError,
    number,
    parse_json,
    shown,
    single_line,
    text,
    unix_time,
)
from frigate_s3_mirror.s3 import ObjectStore
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.storage.store import Listed
from frigate_s3_mirror.units import format_duration

SILENT = "SILENT"
UNREADABLE = "UNREADABLE"
STARTING = "STARTING"
"""It is well as far as it knows, and has not compared Frigate with the bucket yet."""
LONGEST_HEARTBEAT = 256 * 1024
"""Bytes; a heartbeat has less than one thousand."""
_FOLDER = ".mirror"
_GRACE = 60.0  # seconds beside two intervals, for slow requests and clocks that differ
_LONGEST_INTERVAL = 86_400.0  # seconds; S3_HEARTBEAT_INTERVAL allows no more
_TOLERANCE = 3600.0  # seconds that a site's clock may be ahead
_LARGEST_COUNT = 1e12
_AT_ONCE = 8
_ORDER = (SILENT, UNREADABLE, Health.DOWN, Health.DEGRADED, STARTING, Health.OK)
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Heartbeat:
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

    @property
    def is_starting(self) -> bool:
        """Whether it says so, or started so short a time ago that it may not have compared yet."""
        is_new = self.started_at is not None and self.at - self.started_at <= 2 * self.interval + _GRACE
        return self.health is Health.OK and (self.starting or (self.missing_24h is None and is_new))


@dataclass(frozen=True, slots=True)
class Site:
    """One heartbeat object and what it means now."""

    key: str
    state: str
    """SILENT, UNREADABLE, STARTING, or the health that it bears."""
    said: Heartbeat | None
    reason: str
    heard_at: float | None = None
    """When it was written, as far as can be believed (unix seconds)."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        said = asdict(self.said) if self.said else {}
        return {**said, "key": self.key, "state": self.state, "reason": self.reason}


def is_well(site: Site) -> bool:
    """Whether nobody needs to look at this site."""
    return site.state in {Health.OK, STARTING}


def judge(key: str, content: bytes, now: float, modified_at: float = 0.0) -> Site:
    """Say what an object under `.mirror/` means; `modified_at` is when S3 took it, 0 when nobody knows."""
    try:
        said = parse_heartbeat(content)
    except RefusedValueError as error:
        return Site(
            key, UNREADABLE, None, f"This is no heartbeat of the mirror's. Unreadable: {error}.", modified_at or None
        )
    heard_at, reason = said.at, said.reason
    if said.at > now + _TOLERANCE:  # whoever lives in the future would never fall silent
        heard_at = min(modified_at, now)
        reason = f"Its clock is {format_duration(min(said.at - now, 1e9))} ahead. {reason}".strip()
    if now - heard_at > 2 * said.interval + _GRACE:
        return Site(key, SILENT, said, f"Its last words: {said.health}. {reason}".strip(), heard_at or None)
    return Site(key, STARTING if said.is_starting else said.health, said, reason, heard_at)


def parse_heartbeat(content: bytes) -> Heartbeat:
    """Return what the object says, fit for a terminal.

    Raises:
        RefusedValueError: it is no heartbeat, or one of its fields is not what it should be.
    """
    if len(content) > LONGEST_HEARTBEAT:
        raise RefusedValueError(f"it has more than {LONGEST_HEARTBEAT} bytes")
    found = parse_json(content)
    if not isinstance(found, dict):
        raise RefusedValueError("it is no JSON object")
    field = _Fields(found)
    return Heartbeat(
        site=field.required("site", _line),
        version=field.required("version", _line),
        at=field.required("at", unix_time),
        interval=field.optional("interval", _interval, 900.0),
        health=field.optional("health", _health, Health.OK),
        reason=field.optional("reason", _line, ""),
        health_since=field.optional("health_since", unix_time, None),
        started_at=field.optional("started_at", unix_time, None),
        backlog=field.optional("backlog", _count, 0),
        lag_seconds=field.optional("lag_seconds", number, 0.0),
        failed=field.optional("failed", _count, 0),
        expired=field.optional("expired", _count, 0),
        missing_24h=field.optional("missing_24h", _count, None),
        starting=field.optional("starting", _flag, False),
        last_upload_at=field.optional("last_upload_at", unix_time, None),
        last_upload_key=field.optional("last_upload_key", _line, None),
    )


class _Fields:
    """A JSON object's fields, each through its gate."""

    def __init__(self, found: Mapping[str, object]) -> None:
        self._found = found

    def required(self, name: str, gate: Callable[[object], _Value]) -> _Value:
        if name not in self._found:
            raise RefusedValueError(f"it has no '{name}'")
        return self._passed(name, gate)

    def optional(self, name: str, gate: Callable[[object], _Value], otherwise: _Value) -> _Value:
        return otherwise if self._found.get(name) is None else self._passed(name, gate)

    def _passed(self, name: str, gate: Callable[[object], _Value]) -> _Value:
        try:
            return gate(self._found[name])
        except RefusedValueError as error:
            raise RefusedValueError(f"its '{name}': {error}") from error


def _line(value: object) -> str:
    """Who may write to the bucket must not be able to write to the terminal of who reads it."""
    return single_line(text(value))


def _interval(value: object) -> float:
    seconds = number(value)
    if not 0 < seconds <= _LONGEST_INTERVAL:
        raise RefusedValueError(f"{shown(value)} is no interval")
    return seconds


def _health(value: object) -> Health:
    try:
        return Health(text(value))
    except ValueError as error:
        raise RefusedValueError(f"{shown(value)} is not known") from error


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise RefusedValueError(f"{shown(value)} is neither true nor false")
    return value


def _count(value: object) -> int:
    count = number(value)
    if not 0 <= count <= _LARGEST_COUNT:
        raise RefusedValueError(f"{shown(value)} is no count")
    return int(count)


def silent_first(sites: list[Site]) -> list[Site]:
    """In the order in which people want to read them; among the silent the longest first."""
    return sorted(sites, key=lambda site: (_ORDER.index(site.state), site.heard_at or 0.0, site.key))


def read_fleet(store: ObjectStore, prefix: str, now: float, *, everywhere: bool = False) -> list[Site]:
    """All sites. Raises StoreError when nothing may be listed."""
    found = {item.key: item for item in (_everywhere(store) if everywhere else _nearby(store, prefix))}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return silent_first(list(pool.map(lambda item: _read(store, item, now), found.values())))


def _read(store: ObjectStore, item: Listed, now: float) -> Site:
    try:
        return judge(item.key, store.get(item.key, longest=LONGEST_HEARTBEAT), now, item.modified_at)
    except StoreError as error:
        return Site(item.key, UNREADABLE, None, f"Unreadable heartbeat: {single_line(error)}", item.modified_at or None)


def _everywhere(store: ObjectStore) -> Iterator[Listed]:
    for page in store.list(""):
        yield from (item for item in page if _is_heartbeat(item.key))


def _nearby(store: ObjectStore, prefix: str) -> Iterator[Listed]:
    """Below the prefix, beside it, and above it; what may not be listed is passed over while something may."""
    parts = prefix.split("/") if prefix else []
    places = ["/".join(parts[:length]) for length in range(len(parts), -1, -1)]
    refusals: list[StoreError] = []
    for place in places:
        try:
            folders = {place, *store.folders(place)} - {_in_folder(place)}
            for folder in sorted(folders):
                for page in store.list(f"{_in_folder(folder)}/"):
                    yield from (item for item in page if _is_heartbeat(item.key))
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
