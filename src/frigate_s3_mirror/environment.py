"""Settings out of the environment: read once, all problems told at once, each in a sentence that names its variable.

Nothing else in the package reads `S3_*` or `FRIGATE_*` variables. Every variable may also be given as `NAME_FILE`,
a path whose content is the value (Docker secrets).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from frigate_s3_mirror.setting_rules import reason
from frigate_s3_mirror.settings import Settings

INTERNAL_NAMES = frozenset({"S3_MIRROR_PARENT_PIPE", "S3_MIRROR_PARENT_PID", "S3_MIRROR_INIT", "S3_MIRROR_LIB"})
SECRET_NAMES = frozenset(
    str(field.alias) for field in Settings.model_fields.values() if "SecretStr" in str(field.annotation)
)
"""Variables whose values are never shown."""
_PATTERNS = {
    "S3_STORAGE_CLASS": ("a name that S3 knows", "STANDARD or STANDARD_IA"),
    "S3_MQTT_DISCOVERY_PREFIX": ("a topic", "homeassistant"),
    "FRIGATE_MQTT_TOPIC": ("a topic", "frigate"),
    "FRIGATE_URL": ("a web address", "http://frigate:5000"),
    "FRIGATE_UI_URL": ("a web address", "http://192.168.1.10:5000"),
}


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
    skipped = {problem.split(" ", 1)[0].removesuffix("_FILE") for problem in problems}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [s for s in _sentences(error) if s.split(" ", 1)[0] not in skipped]
    if problems:
        raise SettingsError(problems)
    return Loaded(settings, origins, tuple(_unknown_names(environ)))


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
    direct, path = environ.get(name, "").strip(), environ.get(f"{name}_FILE", "").strip()
    if direct and path:
        raise ValueError(f"{name} and {name}_FILE are both set; keep one of them.")
    if direct:
        return direct, "environment"
    if not path:
        return None
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}_FILE names '{path}', which cannot be read ({reason(error)}).") from error
    if not text:
        raise ValueError(f"{name}_FILE names '{path}', which is empty.")
    return text, f"file {path}"


def _sentences(error: ValidationError) -> list[str]:
    sentences = []
    for problem in error.errors(include_url=False):
        message = problem["msg"].removeprefix("Value error, ").rstrip(".")
        if not problem["loc"]:
            sentences += [line.rstrip(".") + "." for line in message.splitlines()]
            continue
        name = str(problem["loc"][0])
        if problem["type"] == "missing":
            sentences.append(f"{name} is not set; it is required.")
        else:
            sentences.append(f"{name} {_explain(problem['type'], message, problem)}.")
    return sentences


def _explain(kind: str, message: str, problem: Any) -> str:
    context, given = problem.get("ctx") or {}, _shown(problem)
    bounds = {"greater_than_equal": "least", "less_than_equal": "most"}
    match kind:
        case "int_parsing" | "int_from_float" | "float_parsing":
            wanted = "a number"
        case "bool_parsing":
            wanted = "true or false"
        case "greater_than_equal" | "less_than_equal":
            wanted = f"at {bounds[kind]} {context.get('ge', context.get('le')):g}"
        case "literal_error" | "enum":
            wanted = context["expected"].replace("'", "")
        case "string_pattern_mismatch":
            what, example = _PATTERNS[str(problem["loc"][0])]
            return f"'{given}' is not {what}; write for example {example}"
        case _:
            return message if message.startswith(("'", "needs", "holds", "{", "is ")) else f"is wrong: {message}"
    return f"must be {wanted}, not '{given}'"


def _shown(problem: Any) -> str:
    return "***" if str(problem["loc"][0]) in SECRET_NAMES else str(problem["input"])


def _unknown_names(environ: Mapping[str, str]) -> list[str]:
    known = {*names(), *(f"{name}_FILE" for name in names()), *INTERNAL_NAMES}
    warnings = []
    for name in sorted(environ):
        if name.startswith("S3_") and name not in known:
            near = difflib.get_close_matches(name, names(), n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else "it has no effect."
            warnings.append(f"{name} is not a setting of the mirror; {hint}")
    return warnings
