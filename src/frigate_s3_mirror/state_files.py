"""The two text files that users know and back up: exports of the ledger, imported when the ledger is missing.

`.s3_uploaded_events` has one event id a line. `.s3_failed_events` is a JSON object, event id to what failed; older
scripts wrote a plain count there, which is understood. New ids are appended, since rewriting a history that only grows
would cost more every day; every rewrite replaces the file atomically.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from frigate_s3_mirror.entries import Problem

UPLOADED_NAME = ".s3_uploaded_events"
FAILED_NAME = ".s3_failed_events"


class StateFiles:
    """Both files in one folder. Every method may raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.uploaded_path = folder / UPLOADED_NAME
        self.failed_path = folder / FAILED_NAME

    def write_uploaded(self, event_ids: Iterable[str]) -> None:
        """Replace the list of uploaded events."""
        self._replace(self.uploaded_path, (f"{event_id}\n" for event_id in event_ids))

    def append_uploaded(self, event_ids: Iterable[str]) -> None:
        """Add events that S3 has acknowledged."""
        self._make_folder()
        with self.uploaded_path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{event_id}\n" for event_id in event_ids))

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

    def read_uploaded(self) -> Iterator[str]:
        """The event ids of the file; none when it is missing. A torn last line is left out."""
        try:
            file = self.uploaded_path.open(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                if line.endswith("\n") and line.strip():
                    yield line.strip()

    def read_failed(self) -> dict[str, tuple[int, str]]:
        """Event id to counted attempts and reason. Raises ValueError when the file is not such JSON."""
        try:
            text = self.failed_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        content = json.loads(text) if text.strip() else {}
        if not isinstance(content, dict):
            raise ValueError(f"{self.failed_path} is not a JSON object")  # noqa: TRY004
        return {str(event_id): _failure(value) for event_id, value in content.items()}

    def _make_folder(self) -> None:
        """Make the folder, but never in an empty parent: that would be the place of a share that is not mounted."""
        if not self._folder.is_dir() and (self._folder.name != "cache" or any(self._folder.parent.iterdir())):
            self._folder.mkdir(parents=True, exist_ok=True)

    def _replace(self, path: Path, lines: Iterable[str]) -> None:
        self._make_folder()
        descriptor, temporary = tempfile.mkstemp(prefix=path.name, dir=self._folder)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _failure(value: Any) -> tuple[int, str]:
    if isinstance(value, dict):
        attempts = value.get("attempts")
        return attempts if isinstance(attempts, int) else 0, str(value.get("error") or "imported from the state file")
    return value if isinstance(value, int) else 0, "imported from the state file of an older version"
