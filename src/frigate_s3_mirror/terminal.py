"""Values from outside on their way to a terminal: plain text without rich's markup, and nothing that steers the terminal."""

from __future__ import annotations

import json

from rich.text import Text

from frigate_s3_mirror.runtime.untrusted import single_line


def plain(value: object, style: str = "") -> Text:
    """Return the value as rich shows it literally, in one line: for cells of tables above all."""
    return Text(single_line(value), style)


def json_text(content: object) -> str:
    """Return JSON that people may read on a terminal: letters as they are, whatever could steer it escaped."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    return text if text.replace("\n", "").isprintable() else json.dumps(content, indent=2)
