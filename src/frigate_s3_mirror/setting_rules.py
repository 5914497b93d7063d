"""What a single setting must look like: each rule takes a value, gives it back in the form that is used, or says why not.

A rule raises ValueError with what follows the variable's name in the sentence that the user reads. What settings must
be to each other is not known here.
"""

from __future__ import annotations

import difflib
import functools
import re
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import SecretStr

from frigate_s3_mirror import providers
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.runtime.untrusted import shown

TEMPLATE_FIELDS = (
    "prefix", "camera", "label", "date", "year", "month", "day", "hour", "time", "timestamp", "event_id",
)  # fmt: skip
_KEY_FORMS = tuple(
    (re.compile(an_id), re.compile(a_secret))
    for an_id, a_secret in (
        (r"A[A-Z]IA[A-Z0-9]{12,28}|[A-Z0-9]{20}|[a-z0-9]{20}", r"[A-Za-z0-9+/=]{38,44}"),
        (r"GK[0-9a-f]{24}", r"[0-9a-f]{64}"),
        (r"[0-9a-f]{32}", r"[0-9a-f]{64}"),
        (r"GOOG[A-Z0-9]{20,60}", r"[A-Za-z0-9+/=]{40}"),
    )
)
"""Forms of access key ids with those of their secrets."""
_LARGEST_BUNDLE = 10_000_000  # bytes; the system's own has 200,000
_ZONE_FOLDERS = ("/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo")
_ZONE_NAME = r"(?:<[A-Za-z0-9+-]{3,}>|[A-Za-z]{3,})"
_ZONE_OFFSET = r"[+-]?\d{1,3}(?::\d\d){0,2}"
_POSIX_ZONE = re.compile(rf"{_ZONE_NAME}{_ZONE_OFFSET}(?:{_ZONE_NAME}(?:{_ZONE_OFFSET})?(?:,[\w.,/:+-]+)?)?")


def without_password(url: str) -> str:
    """The address as it may be shown: user and password hidden, whatever characters they have, and any query, too."""
    scheme, mark, rest = url.partition("://")
    rest = rest if mark else scheme
    user, at, place = rest.rpartition("@")
    place = re.sub(r"([?#]).+", r"\1...", place, flags=re.DOTALL)
    return f"{scheme + mark if mark else ''}{'***' if user else ''}{at}{place}"


def reason(error: OSError | UnicodeDecodeError) -> str:
    """Why a file cannot be read, in a few words."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else "not text"


def split(value: object) -> object:
    """The parts of a list that is written with commas; what is no text stays as it is."""
    return tuple(p.strip() for p in value.split(",") if p.strip()) if isinstance(value, str) else value


def bucket_name(value: str) -> str:
    """A bucket's name, without anything around it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", value):
        raise ValueError(
            f"{shown(value)} is not a bucket's name; give the name alone, without s3:// and without a path"
        )
    return value


def key_part(value: object) -> object:
    """An access key, a secret or a token; it is never repeated in a message."""
    if isinstance(value, str) and (re.search(r"\s", value) or not value.isascii()):
        raise ValueError("holds white space or characters that no key has; copy it again, whole and alone")
    return value


def are_swapped(access_key: str, secret_key: str) -> bool:
    """Whether the two have each other's form: ids and secrets of AWS and its like, Garage and R2."""
    for an_id, a_secret in _KEY_FORMS:
        if an_id.fullmatch(secret_key) and a_secret.fullmatch(access_key):
            return not an_id.fullmatch(access_key)
    return False


def bearer_token(value: object) -> object:
    """A token, without the word that stands before it in a header."""
    if isinstance(value, str) and value.lower().startswith("bearer "):
        raise ValueError("begins with Bearer, which the mirror adds itself; give the token alone")
    return key_part(value)


def region(value: str) -> str:
    """A region's name, whatever the server calls it."""
    if "://" in value or value.endswith((".com", ".net")):
        raise ValueError(
            f"{shown(without_password(value))} is an address; the server goes into S3_ENDPOINT_URL, here write for example eu-west-1"
        )
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._:-]*", value):
        raise ValueError(
            f"{shown(value)} is not a region; write for example eu-west-1, or what your server calls its region"
        )
    return value


def key_prefix(value: str) -> str:
    """What keys begin with, without slashes around it."""
    if "://" in value:
        raise ValueError(
            f"{shown(without_password(value))} is an address; write only what keys begin with, for example frigate/snapshots"
        )
    parts = [part for part in value.split("/") if part]
    if any(part in {".", ".."} or not part.isprintable() for part in parts):
        raise ValueError(f"{shown(value)} is not usable in a key; write for example frigate/snapshots")
    return "/".join(parts)


def endpoint(value: str) -> str:
    """The address of an S3 server, perhaps with a path, without a slash at its end."""
    _check_address(
        value, ("http", "https"), "an endpoint", "https://minio.example.com:9000", "S3_ACCESS_KEY and S3_SECRET_KEY"
    )
    return value.rstrip("/")


def broker(value: str) -> str:
    """The address of an MQTT broker, without a slash at its end."""
    example = "mqtt://192.168.1.10:1883, with S3_MQTT_USER and S3_MQTT_PASSWORD beside it"
    _check_address(
        value, ("mqtt", "mqtts"), "a broker", example, "S3_MQTT_USER and S3_MQTT_PASSWORD", may_have_path=False
    )
    return value.rstrip("/")


def frigate_address(value: str) -> str:
    """The address of Frigate's API."""
    _check_address(
        value, ("http", "https"), "a web address", "http://frigate:5000", "FRIGATE_USER and FRIGATE_PASSWORD"
    )
    return value


def page_address(value: str) -> str:
    """The address of Frigate's page, for browsers."""
    _check_address(
        value,
        ("http", "https"),
        "a web address",
        "http://192.168.1.10:5000",
        "nowhere: the browser asks for them",
        may_have_query=True,
    )
    return value


def provider(value: str) -> str:
    """A preset's name, in small letters."""
    if value.lower() not in providers.NAMES:
        raise ValueError(f"{shown(value)} is not known; use one of {', '.join(providers.NAMES)}")
    return value.lower()


def listen_address(value: str) -> str:
    """host:port, or off."""
    if value == "off":
        return value
    try:
        url = urlsplit(f"//{value}")
        whole = url.hostname and url.port is not None and url.netloc == value and not url.username
    except ValueError:
        whole = False
    if not whole:
        raise ValueError(f"{shown(value)} is not an address; write for example 127.0.0.1:9380, or off")
    return value


def long_token(value: SecretStr) -> SecretStr:
    """A token that cannot be guessed by trying."""
    if len(value.get_secret_value()) < 12:
        raise ValueError("is too short to keep anybody out; use at least 12 characters")
    return value


def watchdog(value: SecretStr) -> SecretStr:
    """A web address, never shown: whoever knows it can call it."""
    address = value.get_secret_value()
    if not re.match(r"https?://", address) or _address_problem(address, ("http", "https")) is not None:
        raise ValueError("is not a URL; write for example https://hc-ping.com/your-uuid")
    return value


def ca_bundle(value: Path) -> Path:
    """A file with certificates that can be read."""
    try:
        with value.open("rb") as file:
            text = file.read(_LARGEST_BUNDLE).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{shown(str(value))} cannot be read as a PEM file ({reason(error)})") from error
    if "BEGIN CERTIFICATE" not in text:
        raise ValueError(f"{shown(str(value))} holds no PEM certificate")
    return value


def artifacts(value: tuple[Kind, ...]) -> tuple[Kind, ...]:
    """Kinds of objects: a clip goes beside something else."""
    if not value:
        raise ValueError("names nothing; write for example snapshot")
    if value == (Kind.CLIP,):
        raise ValueError("needs more than clip, which is never alone; write for example snapshot,clip")
    return value


def time_zone(value: str) -> str:
    """The name of a time zone that this machine knows."""
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{shown(value)} is not a time zone; write for example {_near_zone(value)}") from error
    return value


def process_time_zone(value: str, folder: str = "") -> str | None:
    """What is wrong with TZ, as the C library reads it, or None; what it does not understand is UTC to it.

    `folder` is TZDIR. Rules: https://www.gnu.org/software/libc/manual/html_node/TZ-Variable.html
    """
    name = value.removeprefix(":")
    if name in {"", "UTC", "GMT"} or _POSIX_ZONE.fullmatch(name):
        return None
    if "\0" not in name and any(_is_file(Path(place) / name) for place in (folder, *_ZONE_FOLDERS) if place):
        return None
    try:
        time_zone(name)
    except ValueError:
        return f"TZ is {shown(value)}, which is not a time zone, so that dates in keys are UTC; write for example {_near_zone(name)}."
    return f"TZ is {name}, of which this system has no file, so that dates in keys are UTC; set S3_KEY_TIMEZONE={name}."


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


@functools.cache
def _zones() -> dict[str, str]:
    """Small letters to the name."""
    return {zone.lower(): zone for zone in available_timezones()}


def _near_zone(name: str) -> str:
    """The nearest name of a zone, else an example."""
    wanted = re.sub(r"[\s-]+", "_", name.strip("\"' :")).lower()
    zones = _zones()
    near = difflib.get_close_matches(wanted[:100], zones, n=1, cutoff=0.75)
    return zones[near[0]] if near else "Europe/Berlin or UTC"


def key_template(value: str) -> str:
    """A layout of keys in which no two events can get the same one."""
    fields = re.findall(r"\{([^{}]*)\}", value)
    rest = re.sub(r"\{[^{}]*\}", "", value)
    unknown = [name for name in fields if name not in TEMPLATE_FIELDS]
    if "{" in rest or "}" in rest or unknown:
        wrong = f"{{{unknown[0]}}} is not a field" if unknown else "its braces do not match"
        raise ValueError(f"{wrong}; the fields are {', '.join(TEMPLATE_FIELDS)}")
    if "event_id" not in fields:
        raise ValueError("needs {event_id}, or two events could get the same key")
    if not rest.isprintable() or any(part in {".", ".."} for part in value.split("/")):
        raise ValueError("holds a part that is not usable in a key")
    return value


def _check_address(
    value: str,
    schemes: tuple[str, ...],
    what: str,
    example: str,
    for_users: str,
    *,
    may_have_path: bool = True,
    may_have_query: bool = False,
) -> None:
    """Raises ValueError with the reason, in which no password occurs."""
    problem = _address_problem(value, schemes)
    if problem is None:
        url = urlsplit(value)
        if url.username is not None or url.password is not None:
            problem = f"it holds a user, which goes into {for_users}"
        elif ("?" in value or "#" in value) and not may_have_query:
            problem = "nothing may follow a ? or #"
        elif url.path.strip("/") and not may_have_path:
            problem = "it holds a path"
    if problem is not None:
        raise ValueError(f"{shown(without_password(value))} is not {what}: {problem}; write for example {example}")


def _address_problem(value: str, schemes: tuple[str, ...]) -> str | None:
    """What is wrong with scheme, host or port."""
    shown_schemes = " or ".join(f"{scheme}://" for scheme in schemes)
    try:
        url = urlsplit(value)
        host, port = url.hostname, url.port
    except ValueError:
        return "its host or port cannot be read"
    if url.scheme not in schemes or not re.match(r"\w+://", value):
        return f"it must begin with {shown_schemes}"
    if not host or not re.fullmatch(r"[\w.-]+|[0-9a-f:.]+(%[\w.-]+)?", host) or port == 0:
        return "its host or port cannot be read"
    if re.search(r"[\s\\]", value):
        return "it holds white space or a backslash"
    return None
