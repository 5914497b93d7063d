"""The two text files that users know and back up: exports of the ledger, imported when the ledger is missing.

`.s3_uploaded_events` has one event id a line. `.s3_failed_events` is a JSON object, event id to what failed; older
scripts wrote a plain count there, which is understood. New ids are appended, since rewriting a history that only grows
would cost more every day; every rewrite replaces the file atomically. Beside them, `.s3_mirror_about` says whose uploads
the list names: the destination, the kind of object, and how keys were made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from frigate_s3_mirror.entries import Problem
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.runtime import untrusted
from frigate_s3_mirror.runtime.atomic_write import atomic_write
from frigate_s3_mirror.runtime.untrusted import RefusedValueError
from frigate_s3_mirror.state_folder import tighten

UPLOADED_NAME = ".s3_uploaded_events"
FAILED_NAME = ".s3_failed_events"
ABOUT_NAME = ".s3_mirror_about"
_MOST_ATTEMPTS = 1_000_000
_MOST_CHARACTERS = 256 * 1024 * 1024
_TAIL = 64 * 1024  # bytes; far more than an id, torn or not


@dataclass(frozen=True, slots=True)
class About:
    """What the list of uploaded events is about."""

    destination: str
    kind: Kind
    """The object that stands for its event in the list."""
    key_layout: str


class StateFiles:
    """The files in one folder, readable for their owner alone. Every method may raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.uploaded_path = folder / UPLOADED_NAME
        self.failed_path = folder / FAILED_NAME
        self.about_path = folder / ABOUT_NAME

    def make_private(self) -> None:
        """Take the others' rights of what older versions wrote."""
        for path in (self.uploaded_path, self.failed_path, self.about_path):
            tighten(path)

    def write_uploaded(self, event_ids: Iterable[str]) -> None:
        """Replace the list of uploaded events."""
        self._replace(self.uploaded_path, (f"{event_id}\n" for event_id in event_ids))

    def append_uploaded(self, event_ids: Iterable[str]) -> None:
        """Add events that S3 has acknowledged; what a power cut left of a last line goes, so that no two ids become one."""
        self._make_folder()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self.uploaded_path, flags, 0o600), "r+b") as file:
            os.fchmod(file.fileno(), 0o600)
            file.truncate(_end_of_whole_lines(file))
            file.seek(0, os.SEEK_END)
            file.write("".join(f"{event_id}\n" for event_id in event_ids).encode())

    def write_failed(self, problems: Iterable[Problem]) -> None:
        """Replace the map of failed events."""
        failed = {
            p.event_id: {
                "camera": p.camera,
                "kind": p.kind,
                "state": p.state,
                "attempts": p.attempts,
                "error": p.error,
            }
            for p in problems
        }
        self._replace(self.failed_path, [json.dumps(failed, ensure_ascii=False, indent=1), "\n"])

    def write_about(self, about: About) -> None:
        """Say what the list of uploaded events is about."""
        self._replace(self.about_path, [json.dumps(asdict(about), ensure_ascii=False), "\n"])

    def read_about(self) -> About | None:
        """What the list is about; None where an older version wrote it, or where the file is none of ours."""
        try:
            content = untrusted.parse_json(self.about_path.read_bytes())
            if not isinstance(content, dict):
                return None
            destination, layout = (untrusted.text(content.get(name)) for name in ("destination", "key_layout"))
            return About(destination, Kind(str(content.get("kind"))), layout)
        except (FileNotFoundError, ValueError):
            return None

    def count_uploaded(self) -> int:
        """How many lines the list has, without a look at them."""
        try:
            with self.uploaded_path.open("rb") as file:
                return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1024 * 1024), b""))
        except FileNotFoundError:
            return 0

    def read_uploaded(self) -> Iterator[str]:
        """The event ids of the file; none when it is missing. A torn last line is left out, and what is no id."""
        try:
            file = self.uploaded_path.open(encoding="utf-8", errors="replace", newline="\n")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                if line.endswith("\n") and _is_id(line.strip()):
                    yield line.strip()

    def read_failed(self) -> dict[str, tuple[int, str]]:
        """Event id to counted attempts and reason. Raises ValueError when the file is not such JSON."""
        try:
            text = self.failed_path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return {}
        content = untrusted.parse_json(text, longest=_MOST_CHARACTERS) if text.strip() else {}
        if not isinstance(content, dict):
            raise RefusedValueError("it is no JSON object")
        return {event_id: _failure(value) for event_id, value in content.items() if _is_id(event_id)}

    def _make_folder(self) -> None:
        """Make the folder, but never in an empty parent: that would be the place of a share that is not mounted."""
        if not self._folder.is_dir() and (self._folder.name != "cache" or any(self._folder.parent.iterdir())):
            self._folder.mkdir(parents=True, exist_ok=True)

    def _replace(self, path: Path, lines: Iterable[str]) -> None:
        self._make_folder()
        with atomic_write(path) as file:
            file.writelines(line.encode("utf-8", "replace") for line in lines)


def _end_of_whole_lines(file: BinaryIO) -> int:
    """Where the last line ends that was written whole."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _TAIL)
    file.seek(start)
    tail = file.read()
    return start + tail.rfind(b"\n") + 1 if b"\n" in tail or start == 0 else size


def _is_id(text: str) -> bool:
    return bool(text) and text.isprintable() and len(text) <= untrusted.LONGEST_TEXT


def _failure(value: Any) -> tuple[int, str]:
    if isinstance(value, dict):
        return _attempts(value.get("attempts")), str(value.get("error") or "imported from the state file")
    return _attempts(value), "imported from the state file of an older version"


def _attempts(value: Any) -> int:
    return min(max(value, 0), _MOST_ATTEMPTS) if isinstance(value, int) else 0
