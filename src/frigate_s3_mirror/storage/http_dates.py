"""Dates in headers of HTTP, in every form that servers write them; nothing that comes in raises."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LONGEST = 100  # characters


def parse_date(text: str | None) -> float | None:
    """Return unix seconds of a date as in RFC 1123, RFC 850, asctime or ISO 8601; None for anything else."""
    if not text or len(text) > _LONGEST:
        return None
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            found = parse(text.strip())
            return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError, AttributeError):  # what the two raise for nonsense
            continue
    return None
