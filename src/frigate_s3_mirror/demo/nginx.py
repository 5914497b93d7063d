"""What Frigate's nginx does by itself, in front of the API: it serves files, and remembers answers.

It remembers two things, both of which a client can be misled by (docker/main/rootfs/usr/local/nginx/conf/nginx.conf,
the same in 0.14 to 0.18): JSON answers of the API for 5 seconds, and files for 2 minutes: that one was not there,
how long it was, and its content although it is deleted.
"""

from __future__ import annotations

import html
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from urllib.parse import quote, unquote

from frigate_s3_mirror.demo.http_answers import JSON, Answer, FilePart, page

ANSWERS_SECONDS, FILES_SECONDS = 5.0, 120.0
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_TYPES = {"clips": {".mp4": "video/mp4", ".jpg": "image/jpeg"}, "recordings": {".mp4": "video/mp4"}}
_CLIPS_HEADERS = {"Cache-Control": "max-age=604800, public"}


@dataclass(slots=True)
class _Remembered:
    """What was found under a path; without a descriptor it was not there."""

    until: float
    descriptor: int = -1
    size: int = 0
    changed_at: float = 0.0


class StaticFiles:
    """The folders below the media folder that nginx serves; `remembers` seconds long what it found."""

    def __init__(self, media_dir: Path, remembers: float = FILES_SECONDS) -> None:
        self.remembers = remembers
        self._media_dir = media_dir
        self._lock = threading.Lock()
        self._known: dict[Path, _Remembered] = {}

    def answer(self, path: str, headers: Mapping[str, str]) -> Answer:
        """The file that `path` ("/clips/..." or "/recordings/...") names, or the part that a Range asks for."""
        parts = PurePosixPath(unquote(path)).parts[1:]
        if ".." in parts or "\0" in path:
            return page(400, "Bad Request")
        if path == "/clips/":
            return _listing(self._media_dir / "clips")
        with self._lock:
            found = self._look(self._media_dir.joinpath(*parts))
            if found.descriptor < 0:
                return page(404, "Not Found")
            # The answer has a descriptor of its own: it may still be on its way when this one is forgotten.
            whole = FilePart(os.dup(found.descriptor), 0, found.size)
        kind = _TYPES[parts[0]].get(PurePosixPath(path).suffix, "application/octet-stream")
        about = {
            "Accept-Ranges": "bytes",
            "ETag": f'"{int(found.changed_at):x}-{found.size:x}"',
            "Last-Modified": formatdate(found.changed_at, usegmt=True),
            **(_CLIPS_HEADERS if parts[0] == "clips" else {}),
        }
        return _part(Answer(200, whole, kind, about), whole, headers.get("range", ""))

    def forget(self) -> None:
        """As a restart does."""
        with self._lock:
            for known in self._known.values():
                _close(known)
            self._known.clear()

    def _look(self, path: Path) -> _Remembered:
        known = self._known.get(path)
        if known is not None and time.monotonic() < known.until:
            return known
        if known is not None:
            _close(known)
        self._known[path] = _open(path, time.monotonic() + self.remembers)
        return self._known[path]


class RememberedAnswers:
    """The JSON answers of the API, by address."""

    def __init__(self, remembers: float = ANSWERS_SECONDS) -> None:
        self.remembers = remembers
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Answer]] = {}

    def answer(self, address: str, headers: Mapping[str, str], ask: Callable[[], Answer]) -> Answer:
        """The remembered answer, or what `ask` gets; a request with X-Cache-Bypass always asks.

        An empty value and "0" are no bypass to nginx.
        """
        must_ask = headers.get("x-cache-bypass", "") not in {"", "0"}
        with self._lock:
            until, known = self._known.get(address, (0.0, None))
        if known is not None and not must_ask and time.monotonic() < until:
            return _with_status(known, "HIT")
        fresh = ask()
        if fresh.status == 200 and fresh.content_type == JSON:
            with self._lock:
                self._known[address] = (time.monotonic() + self.remembers, fresh)
        if must_ask:
            return _with_status(fresh, "BYPASS")
        return _with_status(fresh, "MISS" if known is None else "EXPIRED")

    def forget(self) -> None:
        """As a restart does."""
        with self._lock:
            self._known.clear()


def _with_status(answer: Answer, status: str) -> Answer:
    return replace(answer, headers={**answer.headers, "Cache-Control": "no-store", "X-Cache-Status": status})


def _open(path: Path, until: float) -> _Remembered:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return _Remembered(until)
    found = os.fstat(descriptor)
    if not S_ISREG(found.st_mode):  # nginx lists folders; here only the one of the clips
        os.close(descriptor)
        return _Remembered(until)
    return _Remembered(until, descriptor, found.st_size, found.st_mtime)


def _listing(folder: Path) -> Answer:
    """nginx's autoindex: names are cut short in the text, and whole in the links."""
    links = [
        f'<a href="{quote(entry.name)}{"/" if entry.is_dir() else ""}">{html.escape(entry.name[:47])}..&gt;</a>'
        for entry in sorted(folder.iterdir())
    ]
    body = (
        "<html>\r\n<head><title>Index of /clips/</title></head><body><pre>"
        + "\r\n".join(links)
        + "</pre></body></html>"
    )
    return Answer(200, body.encode(), "text/html")


def _close(known: _Remembered) -> None:
    if known.descriptor >= 0:
        os.close(known.descriptor)
        known.descriptor = -1


def _part(answer: Answer, whole: FilePart, wanted: str) -> Answer:
    """Cut `answer` to the one range that the request wants; several at once get the whole file here."""
    match, size = _RANGE.fullmatch(wanted), whole.length
    if match is None or match[0] == "bytes=-":
        return answer
    if match[1]:
        start, end = int(match[1]), min(int(match[2] or size), size - 1)
    else:
        start, end = max(0, size - int(match[2])), size - 1
    if start > end:
        whole.close()
        return replace(page(416, "Range Not Satisfiable"), headers={"Content-Range": f"bytes */{size}"})
    whole.start, whole.length = start, end - start + 1
    return replace(answer, status=206, headers={**answer.headers, "Content-Range": f"bytes {start}-{end}/{size}"})
