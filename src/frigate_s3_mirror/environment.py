"""Settings out of the environment: read once, all problems told at once, each in a sentence that names its variable.

Nothing else in the package reads `S3_*` or `FRIGATE_*` variables. Every variable may also be given as `NAME_FILE`,
a path whose content is the value (Docker secrets).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from frigate_s3_mirror.config.gate import Form, gated, is_weak, read_value
from frigate_s3_mirror.config.spelling import is_list, unit_of
from frigate_s3_mirror.runtime.untrusted import shown, single_line
from frigate_s3_mirror.setting_rules import process_time_zone, reason
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.units import Unit, format_duration, is_ambiguous, is_in_bits, parse_rate, spell_size

INTERNAL_NAMES = frozenset({"S3_MIRROR_PARENT_PIPE", "S3_MIRROR_PARENT_PID", "S3_MIRROR_INIT", "S3_MIRROR_LIB"})
SECRET_NAMES = frozenset(
    str(field.alias) for field in Settings.model_fields.values() if "SecretStr" in str(field.annotation)
)
"""Variables whose values are never shown."""
_PREDICATES = ("'", "{", "needs ", "holds ", "has ", "is ", "names ", "begins ")
"""How our own rules begin; what begins otherwise gets "is wrong:" before it."""
_HIDDEN_NAMES = SECRET_NAMES | {"S3_ACCESS_KEY"}
"""Variables whose values are in no sentence: an access key may be a secret at the wrong place."""
_PATTERNS = {
    "S3_STORAGE_CLASS": ("a name that S3 knows", "STANDARD or STANDARD_IA"),
    "S3_MQTT_DISCOVERY_PREFIX": ("a topic", "homeassistant"),
    "FRIGATE_MQTT_TOPIC": ("a topic", "frigate"),
}
_DURATIONS = frozenset(str(f.alias) for f in Settings.model_fields.values() if unit_of(f) is Unit.DURATION)
_LISTS = frozenset(str(f.alias) for f in Settings.model_fields.values() if is_list(f))
_PASSWORDS = frozenset({"FRIGATE_PASSWORD", "S3_MQTT_PASSWORD"})
_FREE_NAMES = frozenset({"S3_SITE", "S3_MQTT_USER", "FRIGATE_USER"})
_SHORTEST_SECRET = 6  # characters; hiding shorter ones would only tear words apart


class SettingsError(Exception):
    """The settings are wrong; `problems` holds one sentence for each, naming its variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings with where each value came from and what is odd about the environment."""

    settings: Settings
    origins: Mapping[str, str]
    """Variable name to "environment", "file <path>" or "default"."""
    warnings: tuple[str, ...]


def names() -> tuple[str, ...]:
    """Every variable that is known, in the order of the documentation."""
    return tuple(str(field.alias) for field in Settings.model_fields.values())


def load(environ: Mapping[str, str]) -> Loaded:
    """Read and validate the settings.

    Raises SettingsError that holds a sentence for each problem found.
    """
    values: dict[str, str] = {}
    origins = dict.fromkeys(names(), "default")
    problems: list[str] = []
    for name in names():
        try:
            found = _lookup(name, environ)
        except ValueError as error:
            problems.append(str(error))
            continue
        if found is not None:
            values[name], origins[name] = found
    refused = {problem.split(" ", 1)[0].removesuffix("_FILE") for problem in problems}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [
            sentence for name, sentence in _sentences(error, values) if name not in refused and (name or not refused)
        ]
    written = {name: environ[name] for name in names() if environ.get(name)} | values  # what was refused is secret, too
    if problems:
        raise SettingsError([_without_secrets(problem, written) for problem in problems])
    warnings = tuple(_without_secrets(warning, written) for warning in _warnings(environ, values))
    return Loaded(settings, origins, warnings)


def keys_in_files(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Read S3_ACCESS_KEY and S3_SECRET_KEY again where one of them came from a file, which may have changed since.

    None where neither did, or one cannot be read now.
    """
    if not (environ.get("S3_ACCESS_KEY_FILE", "").strip() or environ.get("S3_SECRET_KEY_FILE", "").strip()):
        return None
    try:
        found = [_lookup(name, environ) for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY")]
    except ValueError:
        return None
    access_key, secret_key = (value[0] if value is not None else "" for value in found)
    return (access_key, secret_key) if access_key and secret_key else None


def _lookup(name: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The value that passed the gate, and where it is from. Raises ValueError with a sentence."""
    direct, path = environ.get(name, ""), environ.get(f"{name}_FILE", "").strip()
    if direct.strip() and path:
        raise ValueError(f"{name} and {name}_FILE are both set; keep one of them.")
    if direct.strip():
        return _gated(name, direct, f"write {name}=value without them, or around the whole entry"), "environment"
    if not path:
        return None
    path = _gated(f"{name}_FILE", path, f"write {name}_FILE=path without them, or around the whole entry")
    named = f"{name}_FILE names " + ("a file" if name in _HIDDEN_NAMES else shown(path))
    try:
        text = read_value(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{named}, which cannot be read ({reason(error)}).") from error
    except ValueError as error:
        raise ValueError(f"{named}, which {error}.") from error
    if not text.strip():
        raise ValueError(f"{named}, which is empty.")
    return _gated(name, text, f"write the value without them into the file that {name}_FILE names"), f"file {path}"


def _gated(name: str, text: str, cure: str) -> str:
    """Raises ValueError with a sentence."""
    try:
        return gated(text, form_of(name), cure)
    except ValueError as error:
        raise ValueError(f"{name} {error}.") from error


def form_of(name: str) -> Form:
    """What is written in a variable."""
    if name in _PASSWORDS:
        return Form.PASSWORD
    if name in _FREE_NAMES or (name in SECRET_NAMES and not name.endswith("_URL")):
        return Form.FREE
    if name == "S3_NOTIFY_URL":
        return Form.ADDRESSES
    if name.endswith("_URL"):
        return Form.ADDRESS
    return Form.LIST if name in _LISTS else Form.WORD


def _sentences(error: ValidationError, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """For each problem the variable, "" where it is about several, and the sentence."""
    for problem in error.errors(include_url=False):
        if not problem["loc"]:
            for line in str(problem["ctx"]["error"]).splitlines():
                yield "", line
            continue
        name = str(problem["loc"][0])
        if problem["type"] == "missing":
            yield name, f"{name} is not set; it is required."
        else:
            is_item = len(problem["loc"]) > 1 and isinstance(problem["loc"][1], int)
            given = str(problem["input"]) if is_item else values[name]
            yield name, f"{name} {_explain(problem, '***' if name in _HIDDEN_NAMES else given)}."


def _explain(problem: Any, given: str) -> str:
    """The end of a sentence in our words, whatever pydantic's are."""
    name, context = str(problem["loc"][0]), problem.get("ctx") or {}
    bounds = {"greater_than_equal": "least", "less_than_equal": "most"}
    match problem["type"]:
        case "value_error":
            message = str(context["error"]).rstrip(".")
            return message if message.startswith(_PREDICATES) else f"is wrong: {message}"
        case "string_pattern_mismatch" if name in _PATTERNS:
            what, example = _PATTERNS[name]
            return f"{shown(given)} is not {what}; write for example {example}"
        case (
            "int_parsing"
            | "int_parsing_size"
            | "int_from_float"
            | "float_parsing"
            | "finite_number"
            | "float_type"
            | "int_type"
        ):
            wanted = "a number"
        case "bool_parsing" | "bool_type":
            wanted = "true or false"
        case "greater_than_equal" | "less_than_equal" as bound:
            limit = float(context["ge" if "ge" in context else "le"])
            wanted = f"at {bounds[bound]} {_spelled_bound(name, limit)}"
        case "literal_error" | "enum":
            wanted = context["expected"].replace("'", "")
        case _:
            return f"{shown(given)} cannot be used; docs/settings.md tells what it takes"
    return f"must be {wanted}, not {shown(given)}"


def _spelled_bound(name: str, limit: float) -> str:
    if name not in _DURATIONS:
        return f"{limit:,.0f}".replace(",", "")
    return f"{limit:g} s" if limit < 60 else format_duration(limit)


def _without_secrets(sentence: str, values: Mapping[str, str]) -> str:
    """Nobody's secret is in a sentence, even if it was also written into another variable."""
    for name in _HIDDEN_NAMES:
        if len(secret := values.get(name, "")) >= _SHORTEST_SECRET:
            sentence = sentence.replace(secret, "***")
    return sentence


def _warnings(environ: Mapping[str, str], values: Mapping[str, str]) -> Iterator[str]:
    """What is odd and does not keep the mirror from its work, a sentence each."""
    yield from _unknown_names(environ)
    if "S3_KEY_TIMEZONE" not in values and (zone := environ.get("TZ", "")):
        problem = process_time_zone(zone, environ.get("TZDIR", ""))
        if problem is not None:
            yield problem
    rate = values.get("S3_BANDWIDTH_LIMIT", "")
    if is_ambiguous(rate):
        yield f"S3_BANDWIDTH_LIMIT={rate} counts bytes; write {spell_size(parse_rate(rate))}/s to say so, or for example 16Mbit/s for bits."
    elif is_in_bits(rate) and "it" not in rate.lower():
        yield f"S3_BANDWIDTH_LIMIT={rate} counts bits, so it is {spell_size(parse_rate(rate))} a second; write for example 2MB/s for bytes."
    for name in sorted(_PASSWORDS & values.keys()):
        if is_weak(values[name]):
            yield f"{name} looks like the placeholder of an example."


def _unknown_names(environ: Mapping[str, str]) -> list[str]:
    known = {*names(), *(f"{name}_FILE" for name in names()), *INTERNAL_NAMES}
    warnings = []
    for name in sorted(environ):
        if name.startswith("S3_") and name not in known:
            near = difflib.get_close_matches(name[:100], names(), n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else "it has no effect."
            warnings.append(f"{single_line(name[:100])} is not a setting of the mirror; {hint}")
    return warnings
