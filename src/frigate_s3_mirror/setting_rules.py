"""What a single setting must look like: each rule takes a value, gives it back in the form that is used, or says why not.

A rule raises ValueError with what follows the variable's name in the sentence that the user reads. What settings must
be to each other is not known here.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import SecretStr

from frigate_s3_mirror import providers
from frigate_s3_mirror.kinds import Kind

TEMPLATE_FIELDS = (
    "prefix", "camera", "label", "date", "year", "month", "day", "hour", "time", "timestamp", "event_id",
)  # fmt: skip


def without_password(url: str) -> str:
    """The address as it may be shown: user and password hidden."""
    return re.sub(r"//[^/@]*@", "//***@", url)


def reason(error: OSError | UnicodeDecodeError) -> str:
    """Why a file cannot be read, in a few words."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else "not text"


def split(value: object) -> object:
    """The parts of a list that is written with commas; what is no text stays as it is."""
    return tuple(p.strip() for p in value.split(",") if p.strip()) if isinstance(value, str) else value


def bucket_name(value: str) -> str:
    """A bucket's name, without anything around it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", value):
        raise ValueError(f"'{value}' is not a bucket's name; give the name alone, without s3:// and without a path")
    return value


def without_white_space(value: object) -> object:
    """A key or a region: what was copied with a line's end or a quotation mark of another script is refused."""
    if isinstance(value, str) and (re.search(r"\s", value) or not value.isascii()):
        raise ValueError("holds white space or characters that no key has; was it copied whole and alone?")
    return value


def key_prefix(value: str) -> str:
    """What keys begin with, without slashes around it."""
    parts = [part for part in value.split("/") if part]
    if any(part in {".", ".."} or not part.isprintable() for part in parts):
        raise ValueError(f"'{value}' is not usable in a key; write for example frigate/snapshots")
    return "/".join(parts)


def endpoint(value: str) -> str:
    """The address of an S3 server, without a slash at its end."""
    if not _is_server(value, {"http", "https"}):
        raise ValueError(
            f"'{without_password(value)}' is not an endpoint; write for example https://minio.example.com:9000"
        )
    return value.rstrip("/")


def broker(value: str) -> str:
    """The address of an MQTT broker, without a slash at its end."""
    if not _is_server(value, {"mqtt", "mqtts"}):
        raise ValueError(
            f"'{without_password(value)}' is not a broker; write for example mqtt://192.168.1.10:1883, "
            "with S3_MQTT_USER and S3_MQTT_PASSWORD beside it"
        )
    return value.rstrip("/")


def provider(value: str) -> str:
    """A preset's name, in small letters."""
    if value.lower() not in providers.NAMES:
        raise ValueError(f"'{value}' is not known; use one of {', '.join(providers.NAMES)}")
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
        raise ValueError(f"'{value}' is not an address; write for example 127.0.0.1:9380, or off")
    return value


def long_token(value: SecretStr) -> SecretStr:
    """A token that cannot be guessed by trying."""
    if len(value.get_secret_value()) < 12:
        raise ValueError("is too short to keep anybody out; use at least 12 characters")
    return value


def watchdog(value: SecretStr) -> SecretStr:
    """A web address, never shown: whoever knows it can call it."""
    if not re.match(r"https?://[^/\s]+", value.get_secret_value()):
        raise ValueError("is not a URL; write for example https://hc-ping.com/your-uuid")
    return value


def ca_bundle(value: Path) -> Path:
    """A file with certificates that can be read."""
    try:
        text = value.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"'{value}' cannot be read as a PEM file ({reason(error)})") from error
    if "BEGIN CERTIFICATE" not in text:
        raise ValueError(f"'{value}' holds no PEM certificate")
    return value


def artifacts(value: tuple[Kind, ...]) -> tuple[Kind, ...]:
    """Kinds of objects: a clip goes beside something else."""
    if value == (Kind.CLIP,):
        raise ValueError("needs more than clip, which is never alone; write for example snapshot,clip")
    return value


def time_zone(value: str) -> str:
    """The name of a time zone that this machine knows."""
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"'{value}' is not a time zone; write for example Europe/Berlin or UTC") from error
    return value


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


def _is_server(value: str, schemes: set[str]) -> bool:
    """Scheme, host and perhaps a port, and nothing else."""
    try:
        url = urlsplit(value)
        whole = url.scheme in schemes and url.hostname and (url.port or True)
    except ValueError:
        return False
    return bool(whole) and not url.username and not url.path.strip("/") and not url.query
