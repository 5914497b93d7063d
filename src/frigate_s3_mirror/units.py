"""Parse what people write for durations and byte rates ("5s", "2MB/s"); knows nothing about settings."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import Enum

from frigate_s3_mirror.runtime.untrusted import shown


class Unit(Enum):
    """What a number of the settings counts."""

    DURATION = "seconds"
    SIZE = "bytes"
    RATE = "bytes per second"


_DURATIONS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {
    "": 1, "b": 1,
    "k": 1000, "kb": 1000, "m": 1000**2, "mb": 1000**2, "g": 1000**3, "gb": 1000**3,
    "kib": 1024, "mib": 1024**2, "gib": 1024**3,
}  # fmt: skip
_NUMBER_AND_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*(/\s*s)?\s*")
_LARGEST = 10**18
"""Bytes and seconds beyond which nobody means what is written."""
_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*?)\s*(/\s*s|/\s*sec|ps)?\s*")
_BITS = re.compile(r"(?:[KMGkmg]i?)?[Bb]its?|[KMG]i?b")
"""Units of bits: spelled out, or a small b behind a capital letter, as network speeds are written."""
_BITS_PER_SECOND = re.compile(r"(?:[KMGkmg]i?)?b")
"""Before "ps": Mbps and mbps are always bits, MBps are bytes."""


def parse_duration(text: str) -> float:
    """Seconds from "5s", "300", "1.5m", "500ms", "1h" or "2d"; a bare number means seconds.

    Raises ValueError with a sentence that says what is accepted.
    """
    match = _NUMBER_AND_UNIT.fullmatch(text)
    unit = match.group(2).lower() if match else None
    if match is None or match.group(3) or (unit or "s") not in _DURATIONS:
        raise ValueError(f"{shown(text)} is not a duration; write for example 5s, 500ms, 2m or 1h")
    return min(float(match.group(1)) * _DURATIONS[unit or "s"], float(_LARGEST))


def parse_size(text: str) -> int:
    """Bytes from "2MB", "512KiB", "1g" or a bare number. Raises ValueError with a sentence."""
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None or match.group(3) or match.group(2).lower() not in _SIZES:
        raise ValueError(f"{shown(text)} is not a size; write for example 500KB, 2MB or 1GiB")
    return _bytes(match.group(1), match.group(2))


def parse_rate(text: str) -> int:
    """Bytes per second from "2MB/s", or from bits, "16Mbit/s" or "16Mb/s" (the "/s" may be left out).

    Raises ValueError with a sentence.
    """
    match = _RATE.fullmatch(text)
    unit = match.group(2) if match else ""
    if match is not None and is_in_bits(text):
        prefix = re.sub(r"[Bb](it|its)?$", "", unit)
        rate = _bytes(match.group(1), f"{prefix}b" if prefix else "") // 8
    else:
        rate = _bytes(match.group(1), unit) if match is not None and unit.lower() in _SIZES else 0
    if rate <= 0:
        raise ValueError(f"{shown(text)} is not a rate; write for example 500KB/s or 2MB/s (bytes), or 16Mbit/s (bits)")
    return rate


def is_in_bits(text: str) -> bool:
    """Whether a rate is written in bits per second."""
    match = _RATE.fullmatch(text)
    if match is None:
        return False
    unit, per_second = match.group(2), (match.group(3) or "").strip()
    return bool(_BITS.fullmatch(unit) or (per_second == "ps" and _BITS_PER_SECOND.fullmatch(unit)))


def is_ambiguous(text: str) -> bool:
    """Whether a rate is written so that bits may be meant although it counts as bytes: all in small letters."""
    match = _RATE.fullmatch(text)
    return match is not None and match.group(2) in {"b", "kb", "mb", "gb"} and not is_in_bits(text)


def spell_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads as so many seconds: "30m", "90s", "500ms"."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{int(seconds // length)}{unit}"
    if 0 < seconds < 1 and parse_duration(f"{seconds * 1000:g}ms") == seconds:
        return f"{seconds * 1000:g}ms"
    return f"{_plain(seconds)}s"


def spell_size(size_bytes: int) -> str:
    """The shortest text that `parse_size` reads as exactly so many bytes: "2 GB", "512 KiB", "1234"."""
    for unit in ("GB", "GiB", "MB", "MiB", "KB", "KiB"):
        if size_bytes and size_bytes % _SIZES[unit.lower()] == 0:
            return f"{size_bytes // _SIZES[unit.lower()]} {unit}"
    return str(size_bytes)


def _bytes(number: str, unit: str) -> int:
    """Exact for whole numbers, and bounded, whatever the number of digits."""
    if len(number) > 30:
        return _LARGEST
    return min(int(Decimal(number) * _SIZES[unit.lower()]), _LARGEST)


def _plain(number: float) -> str:
    """A number without an exponent that reads back as the same."""
    return format(Decimal(repr(float(number))).normalize(), "f")


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
