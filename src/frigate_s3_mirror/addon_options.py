"""The options of the Home Assistant add-on as the mirror's environment: a pure translation that knows no file and no network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

STATE_DIR = Path("/data/mirror")
"""In the one folder that an add-on keeps, and that Home Assistant's backups hold."""
VARIABLES = {
    "bucket": "S3_BUCKET",
    "access_key": "S3_ACCESS_KEY",
    "secret_key": "S3_SECRET_KEY",
    "region": "S3_REGION",
    "endpoint_url": "S3_ENDPOINT_URL",
    "path_prefix": "S3_PATH_PREFIX",
    "storage_class": "S3_STORAGE_CLASS",
    "frigate_url": "FRIGATE_URL",
    "frigate_user": "FRIGATE_USER",
    "frigate_password": "FRIGATE_PASSWORD",
    "frigate_token": "FRIGATE_TOKEN",
    "frigate_tls_verify": "FRIGATE_TLS_VERIFY",
    "cameras": "S3_CAMERAS",
    "labels": "S3_LABELS",
    "artifacts": "S3_ARTIFACTS",
    "live": "S3_LIVE",
    "live_retention_days": "S3_LIVE_RETENTION_DAYS",
    "clip_pre": "S3_CLIP_PRE",
    "clip_post": "S3_CLIP_POST",
    "clip_cameras": "S3_CLIP_CAMERAS",
    "clip_labels": "S3_CLIP_LABELS",
    "clip_severity": "S3_CLIP_SEVERITY",
    "clip_retention_days": "S3_CLIP_RETENTION_DAYS",
    "site": "S3_SITE",
    "status_token": "S3_STATUS_TOKEN",
    "mqtt_url": "S3_MQTT_URL",
    "mqtt_user": "S3_MQTT_USER",
    "mqtt_password": "S3_MQTT_PASSWORD",
    "log_level": "S3_LOG_LEVEL",
}
"""Option to variable."""
OTHER_VARIABLES = "env"
"""The option that lists any other variable, NAME=value."""
_FIXED = ("FRIGATE_SOURCE", "S3_STATE_DIR")
_OPTIONS = {variable: option for option, variable in VARIABLES.items()}


class OptionsError(Exception):
    """The options are wrong; `problems` holds one sentence for each, naming its option."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class Broker(BaseModel):
    """The MQTT broker that Home Assistant's Supervisor knows of, by the names of its answer."""

    model_config = ConfigDict(frozen=True)

    host: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    port: int = Field(ge=1, le=65535)
    username: str = ""
    password: SecretStr = SecretStr("")
    ssl: bool = False

    @property
    def url(self) -> str:
        """As S3_MQTT_URL wants it."""
        return f"{'mqtts' if self.ssl else 'mqtt'}://{self.host}:{self.port}"


def environment_of(
    options: Mapping[str, object], mqtt: Broker | None, base: Mapping[str, str], state_dir: Path = STATE_DIR
) -> dict[str, str]:
    """The environment in which the mirror runs: `base`, and over it what the options and the broker say.

    Raises OptionsError.
    """
    chosen = variables_of(options)
    made = {**base, **chosen, "FRIGATE_SOURCE": "api", "S3_STATE_DIR": str(state_dir)}
    if mqtt is not None and not names_broker(chosen):
        made |= _of_broker(mqtt, chosen)
    made.setdefault("S3_SITE", "home")
    seen_from_outside = _is_set("S3_STATUS_TOKEN", chosen)
    made.setdefault("S3_STATUS_LISTEN", "0.0.0.0:9380" if seen_from_outside else "off")
    return made


def names_broker(chosen: Mapping[str, str]) -> bool:
    """Whether the user has set the broker; set to nothing, it says that there shall be none."""
    return _is_set("S3_MQTT_URL", chosen)


def variables_of(options: Mapping[str, object]) -> dict[str, str]:
    """What the user chose, as variables. Raises OptionsError."""
    chosen: dict[str, str] = {}
    problems: list[str] = []
    for option, variable in VARIABLES.items():
        try:
            if text := _text(options.get(option)):
                chosen[variable] = text
        except ValueError as error:
            problems.append(f"Option {option} ({variable}) {error}.")
    problems += _add_others(options.get(OTHER_VARIABLES), chosen)
    if problems:
        raise OptionsError(problems)
    return chosen


def with_option(problem: str) -> str:
    """A sentence of the settings, which opens with its variable, with the option that the variable came from."""
    variable = re.split("[ =]", problem, maxsplit=1)[0]
    return f"Option {_OPTIONS.get(variable, OTHER_VARIABLES)}: {problem}"


def _is_set(variable: str, chosen: Mapping[str, str]) -> bool:
    return variable in chosen or f"{variable}_FILE" in chosen


def _of_broker(mqtt: Broker, chosen: Mapping[str, str]) -> dict[str, str]:
    """A user of the user's own choice does not get the other one's password."""
    made = {"S3_MQTT_URL": mqtt.url}
    if mqtt.username and not any(_is_set(name, chosen) for name in ("S3_MQTT_USER", "S3_MQTT_PASSWORD")):
        made |= {"S3_MQTT_USER": mqtt.username, "S3_MQTT_PASSWORD": mqtt.password.get_secret_value()}
    return made


def _text(value: object) -> str:
    """The value as a variable holds it, "" for none. Raises ValueError with the end of a sentence, never with the value."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case str():
            return _storable(value)
        case list():
            if any(isinstance(item, list) for item in value):
                raise ValueError("holds a list within a list")
            return ",".join(text for item in value if (text := _text(item)))
    raise ValueError("is neither text nor a number, true or false, or a list of these")


def _storable(text: str) -> str:
    """JSON can hold characters that no environment can."""
    if "\0" in text or re.search("[\ud800-\udfff]", text):
        raise ValueError("holds a character that cannot be used here")
    return text


def _add_others(entries: object, chosen: dict[str, str]) -> list[str]:
    """Add the entries of `env` to `chosen`; returns a sentence for each that cannot be."""
    if entries is None:
        return []
    if not isinstance(entries, list):
        return [f"Option {OTHER_VARIABLES} is not a list; write one NAME=value an entry."]
    problems = []
    for number, entry in enumerate(entries, 1):
        try:
            name, value = _name_and_value(entry)
            _claim(name, chosen)
            chosen[name] = value
        except ValueError as error:
            problems.append(f"Option {OTHER_VARIABLES}: entry {number} {error}.")
    return problems


def _claim(name: str, chosen: Mapping[str, str]) -> None:
    """A variable that is said twice is a mistake, whichever of the two was meant."""
    if name.removesuffix("_FILE") in _FIXED:
        raise ValueError(f"sets {name}, which the add-on sets itself")
    if name in chosen:
        other = f"option {_OPTIONS[name]}" if name in _OPTIONS else "an entry before it"
        raise ValueError(f"sets {name}, as {other} does; keep one of them")


def _name_and_value(entry: object) -> tuple[str, str]:
    name, equals, value = _text(entry).partition("=")
    name = name.strip()
    # What stands before the first "=" of something else may be part of a secret, so only a good name is shown.
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("is not NAME=value")
    return name, value.strip()
