"""The settings table of docs/settings.md, made from `settings.py` so that it cannot be wrong."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.units import format_duration

_DURATIONS = {"scan_interval", "stats_interval", "shutdown_grace", "heartbeat_interval"}


def settings_table() -> str:
    """A Markdown table: variable, default, what it does."""
    lines = ["| Variable | Default | What it does |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "" if field.is_required() or field.default_factory else field.default
        if name in _DURATIONS:
            default = format_duration(float(str(default)))
        elif isinstance(default, tuple):
            default = ", ".join(default)
        shown = f"`{default}`" if default not in {None, ""} else ""
        lines.append(f"| `{field.alias}` | {shown} | {field.description} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """The page with its table of settings made anew."""
    return re.sub(r"^\| Variable \|.*?(?=^(?!\|)|\Z)", lambda _: settings_table(), page, flags=re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text()))
