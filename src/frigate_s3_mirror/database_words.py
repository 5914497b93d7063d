"""What is said of a table of Frigate's that cannot be read: in its own database, or in the copy of FRIGATE_SOURCE=api."""

from __future__ import annotations

from pathlib import Path

COPY_NAME = "frigate-copy.db"
"""Name of the copy in S3_STATE_DIR."""


def cannot_be_read(path: Path, reason: str | None) -> str:
    """A sentence for a file that is not there, or may not be read."""
    return f"{_name(path)} {path} cannot be read ({reason}); check {_variable(path)}."


def is_no_database(path: Path, lacking: str) -> str:
    """A sentence for a file that has other tables; `lacking` says so."""
    return f"{path} {lacking}; check {_variable(path)}."


def _name(path: Path) -> str:
    return "The copy of Frigate's events" if path.name == COPY_NAME else "Frigate's database"


def _variable(path: Path) -> str:
    return "S3_STATE_DIR" if path.name == COPY_NAME else "FRIGATE_DB_PATH"
