"""A stretch of a file, as HTTP's Range header asks for one: what a browser needs to jump within a video.

https://www.rfc-editor.org/rfc/rfc9110#name-range-requests
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

CHUNK = 256 * 1024
"""Bytes that are held in memory at a time."""
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class NoSuchStretchError(Exception):
    """The file ends before what was asked for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Bytes `first` to `last`, both included; without `first` the last so many, without `last` all that follow."""

    first: int | None
    last: int | None

    def within(self, size: int) -> tuple[int, int]:
        """Begin and end (not included) in a file of so many bytes. Raises NoSuchStretchError."""
        if self.first is None:
            begin, end = max(0, size - (self.last or 0)), size
        else:
            begin, end = self.first, size if self.last is None else min(self.last + 1, size)
        if begin >= end:
            raise NoSuchStretchError
        return begin, end


@dataclass(frozen=True, slots=True)
class Stretch:
    """The bytes from `begin` to `end` (not included) of a file of `size` bytes; `chunks` reads them once."""

    begin: int
    end: int
    size: int
    chunks: Iterator[bytes]

    def headers(self) -> dict[str, str]:
        """What an answer with it says of its place, whether it is a part or the whole."""
        place = f"bytes {self.begin}-{self.end - 1}/{self.size}"
        return {"Accept-Ranges": "bytes", "Content-Length": str(self.end - self.begin), "Content-Range": place}


def wanted(header: str | None) -> Wanted | None:
    """What the header asks for; None means the whole file, which is also the answer to what is not understood."""
    match = _RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or not any(match.groups()):
        return None
    first, last = (int(number) if number else None for number in match.groups())
    if first is not None and last is not None and last < first:
        return None
    return Wanted(first, last)


def of_file(descriptor: int, size: int, part: Wanted | None) -> Stretch:
    """A stretch of an open file, which is closed with it. Raises NoSuchStretchError."""
    try:
        begin, end = (0, size) if part is None else part.within(size)
    except NoSuchStretchError:
        os.close(descriptor)
        raise
    return Stretch(begin, end, size, _chunks(os.fdopen(descriptor, "rb"), begin, end))


def cut(chunks: Iterator[bytes], begin: int, end: int) -> Iterator[bytes]:
    """The bytes from `begin` to `end` (not included) of what the chunks are together."""
    at = 0
    for chunk in chunks:
        if piece := chunk[max(0, begin - at) : max(0, end - at)]:
            yield piece
        at += len(chunk)
        if at >= end:
            return


def _chunks(file: BinaryIO, begin: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(begin)
        left = end - begin
        while left > 0 and (chunk := file.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk
