"""The settings' destination by its canonical name, and the keys that it gives: pure functions of the settings."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from frigate_s3_mirror.events import Event
from frigate_s3_mirror.keys import CONTENT_TYPES, clip_key_for, key_for
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger_home import Home
from frigate_s3_mirror.settings import Settings

_DEFAULT_PORTS = {"http": 80, "https": 443}
_AWS_PARTITIONS = {"cn": "AWS China", "eusc": "AWS European Sovereign Cloud"}
_AWS_DOMAINS = {
    ".amazonaws.com": "AWS",
    ".amazonaws.com.cn": "AWS China",
    ".amazonaws.eu": "AWS European Sovereign Cloud",
}


def home_of(settings: Settings) -> Home:
    """Return where the ledger of these settings is at home."""

    def mend_key(event: str | None, kind: str, part: str, source: str | None) -> str | None:
        try:
            return key_of(Event.from_json(event or ""), Kind(kind), part, source, settings)
        except (ValueError, OverflowError, OSError):  # an event or a time out of which no key can be made
            return None

    return Home(name_of(settings), layout_of(settings), mend_key)


def name_of(settings: Settings) -> str:
    """Return endpoint, bucket and prefix as one name: the same for all spellings of one place, and without secrets.

    A region is no part of it: a bucket's name is unique among all of AWS's regions.
    """
    endpoint = _endpoint_name(settings)
    return "/".join(part for part in (endpoint, settings.bucket, settings.path_prefix) if part)


def layout_of(settings: Settings) -> str:
    """Return what keys are made by, for people: the template and the time zone of its dates."""
    zone = settings.key_timezone or f"local ({'/'.join(dict.fromkeys(time.tzname))})"
    return f"{settings.key_template}, time zone {zone}"


def key_of(event: Event, kind: Kind, part: str, source: str | None, settings: Settings) -> str | None:
    """Return the key of an entry that the ledger knows; None where its source does not tell the ending."""
    if kind is Kind.CLIP:
        return clip_key_for(event, part, settings)
    ending = _ending_of(kind, source)
    return key_for(event, kind, ending, settings) if ending in CONTENT_TYPES else None


def _ending_of(kind: Kind, source: str | None) -> str | None:
    if kind is Kind.METADATA:
        return "json"
    if source is None:
        return None
    return "jpg" if source.startswith("row:") else source.rpartition(".")[2]


def _endpoint_name(settings: Settings) -> str:
    if settings.endpoint_url is None:
        return _AWS_PARTITIONS.get(settings.region.split("-", 1)[0], "AWS")
    url = urlsplit(settings.endpoint_url)
    host = (url.hostname or "").rstrip(".")
    for domain, name in _AWS_DOMAINS.items():
        if host.endswith(domain) and any(label == "s3" or label.startswith("s3-") for label in host.split(".")):
            return name
    if settings.virtual_host:  # the bucket may stand before the server's own name, or be put there
        host = host.removeprefix(f"{settings.bucket.lower()}.")
    host = f"[{host}]" if ":" in host else host
    return host if url.port in {None, _DEFAULT_PORTS.get(url.scheme)} else f"{host}:{url.port}"
