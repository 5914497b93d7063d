"""Parse what people write for durations and byte rates ("5s", "2MB/s"); knows nothing about settings."""

from __future__ import annotations

import re

_DURATIONS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {
    "": 1, "b": 1,
    "k": 1000, "kb": 1000, "m": 1000**2, "mb": 1000**2, "g": 1000**3, "gb": 1000**3,
    "kib": 1024, "mib": 1024**2, "gib": 1024**3,
}  # fmt: skip
_NUMBER_AND_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*(/\s*s)?\s*")


def parse_duration(text: str) -> float:
    """Seconds from "5s", "300", "1.5m", "500ms", "1h" or "2d"; a bare number means seconds.

    Raises ValueError with a sentence that says what is accepted.
    """
    match = _NUMBER_AND_UNIT.fullmatch(text)
    unit = match.group(2).lower() if match else None
    if match is None or match.group(3) or (unit or "s") not in _DURATIONS:
        raise ValueError(f"'{text}' is not a duration; write for example 5s, 500ms, 2m or 1h")
    return float(match.group(1)) * _DURATIONS[unit or "s"]


def parse_size(text: str) -> int:
    """Bytes from "2MB", "512KiB", "1g" or a bare number. Raises ValueError with a sentence."""
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None or match.group(3) or match.group(2).lower() not in _SIZES:
        raise ValueError(f"'{text}' is not a size; write for example 500KB, 2MB or 1GiB")
    return int(float(match.group(1)) * _SIZES[match.group(2).lower()])


def parse_rate(text: str) -> int:
    """Bytes per second from "2MB/s" (the "/s" may be left out). Raises ValueError with a sentence."""
    size = re.sub(r"/\s*s(ec)?\s*$", "", text.strip())
    try:
        rate = parse_size(size)
    except ValueError:
        rate = 0
    if rate <= 0:
        raise ValueError(f"'{text}' is not a rate; write for example 500KB/s or 2MB/s")
    return rate


def format_size(size_bytes: float) -> str:
    """A short human size, "1.2 MB"; powers of 1000, as disks and S3 bills count."""
    size = float(size_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def format_duration(seconds: float) -> str:
    """A short human duration with the two largest units, "12 ms", "3 s", "2 min 5 s", "4 h 10 min", "3 d 2 h"."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"
    left, parts = int(seconds), []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
