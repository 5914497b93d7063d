"""Over which times recordings are asked for, in few requests, when there is no table of them to look at. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_GAP = 1800.0
"""Seconds: recordings between two clips that are not further apart are asked for along with them."""
_LONGEST = 3 * 3600.0
"""Seconds: about a thousand recordings."""


@dataclass(frozen=True, slots=True)
class Span:
    """Recordings of a camera between two times (unix seconds)."""

    camera: str
    begins: float
    ends: float


def spans(windows: Iterable[Span]) -> list[Span]:
    """What to ask for, to see all windows; they come camera by camera in the order of their beginnings."""
    found: list[Span] = []
    for window in windows:
        last = found[-1] if found else None
        if last is not None and last.camera == window.camera and window.begins <= last.ends + _GAP:
            found[-1] = Span(last.camera, last.begins, max(last.ends, window.ends))
        else:
            found.append(window)
    return [piece for span in found for piece in _pieces(span)]


def _pieces(span: Span) -> list[Span]:
    """The span, cut where it is too long for one request."""
    pieces: list[Span] = []
    begins = span.begins
    while span.ends - begins > _LONGEST:
        pieces.append(Span(span.camera, begins, begins + _LONGEST))
        begins += _LONGEST
    return [*pieces, Span(span.camera, begins, span.ends)]
