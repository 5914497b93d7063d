"""What a simulated web server sends: a status, some headers, and bytes or a part of a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

JSON = "application/json"
_PIECE = 256 * 1024


@dataclass(slots=True)
class FilePart:
    """Some bytes of an open file, read when they are sent: it may be gigabytes. Owns its descriptor."""

    descriptor: int
    start: int
    length: int

    def pieces(self) -> Iterator[bytes]:
        """The content; fewer bytes if the file has become shorter."""
        position, end = self.start, self.start + self.length
        while position < end:
            piece = os.pread(self.descriptor, min(_PIECE, end - position), position)
            if not piece:
                return
            position += len(piece)
            yield piece

    def close(self) -> None:
        """May be called twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, before it is sent."""

    status: int
    body: bytes | FilePart = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def length(self) -> int:
        """What Content-Length says."""
        return self.body.length if isinstance(self.body, FilePart) else len(self.body)

    def pieces(self) -> Iterator[bytes]:
        """The body, a piece at a time."""
        if isinstance(self.body, FilePart):
            yield from self.body.pieces()
        else:
            yield self.body

    def close(self) -> None:
        """Give back what it holds; may be called twice."""
        if isinstance(self.body, FilePart):
            self.body.close()


def as_json(content: object, status: int = 200) -> Answer:
    """An answer of an API."""
    return Answer(status, json.dumps(content, separators=(",", ":")).encode())


def failure(message: str, status: int = 404) -> Answer:
    """How Frigate says that it has not got something."""
    return as_json({"success": False, "message": message}, status)


def page(status: int, text: str) -> Answer:
    """What nginx says itself."""
    return Answer(status, f"<html><head><title>{status} {text}</title></head></html>".encode(), "text/html")
