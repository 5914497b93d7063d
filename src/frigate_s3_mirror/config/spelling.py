"""Settings as text that can be typed in again: "30m", "2 GB", "true", "front_door, yard"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.units import Unit, spell_duration, spell_size

NOT_SET = "(not set)"
"""What stands in parentheses is no value; it says what is the case without one."""
_SHOWN_LETTERS = 4  # of an access key, from 12 letters on


def unit_of(field: FieldInfo) -> Unit | None:
    """What the field's number counts, None for all that is no such number."""
    nested = (getattr(part, "__metadata__", ()) for part in get_args(field.annotation))
    metadata = (*field.metadata, *(item for items in nested for item in items))
    return next((item for item in metadata if isinstance(item, Unit)), None)


def is_list(field: FieldInfo) -> bool:
    """Whether the value is written with commas."""
    return "tuple" in str(field.annotation)


def spell(field: FieldInfo, value: Any) -> str:
    """One value as its user may write it; "" for none, stars for a secret."""
    if value is None:
        return ""
    if (unit := unit_of(field)) is not None:
        return spell_duration(value) if unit is Unit.DURATION else f"{spell_size(value)}{'/s' * (unit is Unit.RATE)}"
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.10g}"
        case tuple():
            return ", ".join(value)
    return "**********" if isinstance(value, SecretStr) else str(value)


def effective(settings: Settings) -> dict[str, str]:
    """Every variable with its value; secrets are hidden, values that follow from others are spelled out."""
    return dict(_effective(settings))


def _effective(settings: Settings) -> Iterator[tuple[str, str]]:
    follows = {
        "S3_ACCESS_KEY": _shortened(settings.access_key) if settings.access_key else "",
        "S3_STORAGE_CLASS": settings.effective_storage_class or "(none sent)",
        "S3_PROVIDER": settings.preset.name,
        "S3_ADDRESSING_STYLE": "virtual" if settings.virtual_host else "path",
        "S3_STATE_DIR": str(settings.state_dir or f"(not set: {settings.ledger_dir} and {settings.text_state_dir})"),
    }
    for name, field in Settings.model_fields.items():
        alias = str(field.alias)
        yield alias, follows.get(alias, spell(field, getattr(settings, name))) or NOT_SET


def _shortened(access_key: str) -> str:
    """Enough to know it by, and not enough to use it: somebody may have put the secret there."""
    return f"{access_key[:_SHOWN_LETTERS] if len(access_key) >= 3 * _SHOWN_LETTERS else ''}..."
