"""The tables of docs/settings.md and docs/errors.md, made from the code so that they cannot be wrong."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from frigate_s3_mirror.config.spelling import spell
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3_errors import AGAIN, CODES, NO_ANSWER, NOT_S3, REFUSED, STATUSES
from frigate_s3_mirror.settings import Settings


def settings_table() -> str:
    """A Markdown table: variable, default, what it does."""
    lines = ["| Variable | Default | What it does |", "| --- | --- | --- |"]
    for field in Settings.model_fields.values():
        default = None if field.is_required() or field.default_factory else field.default
        text = spell(field, default)
        shown = f"`{text}`" if text else ""
        lines.append(f"| `{field.alias}` | {shown} | {field.description} |")
    return "\n".join(lines) + "\n"


def errors_table() -> str:
    """A Markdown table: what S3 (or the way to it) says, its class, what to do."""
    lines = ["| What is said | Class | What it means |", "| --- | --- | --- |"]
    lines += [f"| `{code}` | {error_class} | {advice} |" for code, (error_class, advice) in CODES.items()]
    for statuses, error_class, advice in STATUSES:
        shown = ", ".join(str(status) for status in sorted(statuses) if status < 500)
        more = " and 5xx" if max(statuses) >= 500 else ""
        lines.append(f"| status {shown}{more}, other codes | {error_class} | {advice} |")
    lines += [
        f"| other 4xx with a code | {ErrorClass.OBJECT} | {REFUSED} |",
        f"| 2xx, 3xx and 4xx that S3 does not give | {ErrorClass.TRANSIENT} | {NOT_S3} |",
        f"| anything else | {ErrorClass.TRANSIENT} | {AGAIN} |",
    ]
    lines += [
        f"| no answer: {failure} | {error_class} | {advice} |" for failure, (error_class, advice) in NO_ANSWER.items()
    ]
    return "\n".join(lines) + "\n"


TABLES = {"settings.md": ("| Variable |", settings_table), "errors.md": ("| What is said |", errors_table)}
"""Each page's name with the beginning of its table."""


def with_table(name: str, page: str) -> str:
    """The page with its table made anew."""
    beginning, table = TABLES[name]
    pattern = rf"^{re.escape(beginning)}.*?(?=^(?!\|)|\Z)"
    return re.sub(pattern, lambda _: table(), page, flags=re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    for name in TABLES:
        path = Path(sys.argv[1]) / name
        path.write_text(with_table(name, path.read_text()))
