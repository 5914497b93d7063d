"""The header Retry-After: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after"""

from __future__ import annotations

import re
import time

from frigate_s3_mirror.storage.http_dates import parse_date

LONGEST = 86_400.0
"""Seconds; who says more means "not today"."""
_SECONDS = re.compile(r"[0-9]{1,15}")


def parse_retry_after(text: str | None, now: float | None = None) -> float | None:
    """Return the seconds of a Retry-After header, which holds a number or a date: at least 0, at most `LONGEST`.

    None when it says nothing usable.
    """
    if not text:
        return None
    if _SECONDS.fullmatch(text.strip()):
        return min(float(text), LONGEST)
    at = parse_date(text)
    return None if at is None else min(max(0.0, at - (time.time() if now is None else now)), LONGEST)
