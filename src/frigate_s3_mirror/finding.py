"""What one check of `doctor` found: a name, a verdict, what was seen and what to do. Knows nothing of the checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """The mirror works, but something about it deserves a look."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """It could not be checked, because something that it needs failed, or does not apply here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `seen` and `fix` are whole sentences, `fix` is empty where nothing is to be done."""

    name: str
    verdict: Verdict
    seen: str
    fix: str = ""


def ok(name: str, seen: str) -> Finding:
    """All is well."""
    return Finding(name, Verdict.OK, seen)


def warning(name: str, seen: str, fix: str) -> Finding:
    """It works, but."""
    return Finding(name, Verdict.WARNING, seen, fix)


def failed(name: str, seen: str, fix: str) -> Finding:
    """It does not work; `fix` says what to change."""
    return Finding(name, Verdict.FAILED, seen, fix)


def skipped(name: str, why: str) -> Finding:
    """It was not checked."""
    return Finding(name, Verdict.SKIPPED, why)
