"""Frigate's files over HTTP, for FRIGATE_SOURCE=api: its nginx hands them out byte for byte, under the names on disk.

`/clips/` and `/recordings/` are there in 0.12 to 0.18, on ports 5000 and 8971. nginx remembers for two minutes that a
file was not there, so none is asked for before its event has ended (docker/main/rootfs/usr/local/nginx/conf/nginx.conf).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from frigate_s3_mirror.events import Event
from frigate_s3_mirror.frigate_api import Answer, ApiError, FrigateApi
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.sources import (
    Found,
    SourceRefusedError,
    SourceUnreachableError,
    SourceVanishedError,
    candidates,
)

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

PICTURES = re.compile(
    r"[a-zA-Z0-9_-][a-zA-Z0-9._-]*\.(?:jpg|png|webp)|thumbs/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-][a-zA-Z0-9._-]*\.webp"
)
RECORDINGS = re.compile(r"\d{4}-\d\d-\d\d/\d\d/[a-zA-Z0-9_-]+/\d\d\.\d\d\.mp4")
_AT_ONCE = 4
_IN_MEMORY = 2_000_000  # bytes; larger files go through the disk of the state folder
_PIECE = 256 * 1024


class ApiFiles:
    """One of Frigate's folders; see sources.Files."""

    def __init__(self, api: FrigateApi, folder: str, names: re.Pattern[str], state_dir: Path) -> None:
        """`folder` as in Frigate's addresses; `names` are those that Frigate gives, no other is asked for."""
        self._api, self._folder, self._names, self._state_dir = api, folder, names, state_dir

    def open(self, source: str) -> tuple[int, int]:
        """See Files. What is opened is a whole copy without a name, gone when it is closed."""
        if not self._names.fullmatch(source):
            raise SourceRefusedError(f"{source} is no name of Frigate's and is refused")
        try:
            with self._api.opened(self._address(source)) as answer:
                return self._fetch(answer, source)
        except ApiError as error:
            raise SourceUnreachableError(str(error)) from error

    def path(self, source: str) -> Path | None:
        """See Files."""
        return None

    def head(self, source: str) -> Answer | None:
        """What is said of a file, None when there is none. Raises ApiError."""
        answer = self._api.head(self._address(source))
        if answer.status == 404:
            return None
        self._check(answer.status, answer.headers.get("content-type", ""))
        return answer

    def _address(self, source: str) -> str:
        return f"/{self._folder}/{quote(source)}"

    def _fetch(self, answer: BaseHTTPResponse, source: str) -> tuple[int, int]:
        if answer.status == 404:
            raise SourceVanishedError(source)
        self._check(answer.status, answer.headers.get("content-type", ""))
        length = answer.headers.get("content-length", "")
        if not length.isdecimal():
            raise self._strange("do not say how long they are")
        if length == "0":
            raise SourceRefusedError(f"{source} is empty (0 bytes); Frigate never finished it")
        with contextlib.ExitStack() as unless_whole:
            descriptor = self._nameless(int(length))
            unless_whole.callback(os.close, descriptor)
            if self._copy(answer, descriptor) != int(length):
                raise ApiError(f"Frigate at {self._api.address} broke off while it sent a file.")
            unless_whole.pop_all()
        return descriptor, int(length)

    def _copy(self, answer: BaseHTTPResponse, descriptor: int) -> int:
        """Write what comes, and go back to its beginning; returns how many bytes came."""
        from urllib3.exceptions import HTTPError

        size = 0
        try:
            with open(descriptor, "wb", closefd=False) as file:
                for piece in answer.stream(_PIECE):
                    size += file.write(piece)
            os.lseek(descriptor, 0, os.SEEK_SET)
        except HTTPError:
            return -1
        except OSError as error:
            raise self._no_room(error) from error
        return size

    def _nameless(self, length: int) -> int:
        if length <= _IN_MEMORY and hasattr(os, "memfd_create"):
            return os.memfd_create("frigate-file", os.MFD_CLOEXEC)
        try:
            self._state_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._state_dir) as file:
                return os.dup(file.fileno())
        except OSError as error:
            raise self._no_room(error) from error

    def _no_room(self, error: OSError) -> ApiError:
        return ApiError(
            f"The state folder {self._state_dir} cannot take a file ({error.strerror}); check S3_STATE_DIR."
        )

    def _check(self, status: int, content_type: str) -> None:
        """Raises ApiError for an answer that is none of nginx's for a file."""
        if status in {401, 403}:
            raise self._api.refusal(status)
        if status >= 500:
            raise self._api.odd_status(status)
        if status != 200:
            raise self._strange(f"are answered with status {status}")
        if content_type.startswith("text/html"):
            raise self._strange("are answered with a web page")

    def _strange(self, what: str) -> ApiError:
        return ApiError(
            f"Frigate's files at {self._api.address}/{self._folder}/ {what}; is FRIGATE_URL Frigate's own port, "
            f"or a proxy that does not pass /{self._folder}/ on?"
        )


class ApiPictures(ApiFiles):
    """The clips folder; see sources.Pictures."""

    def __init__(self, api: FrigateApi, state_dir: Path) -> None:
        super().__init__(api, "clips", PICTURES, state_dir)
        self._pool = ThreadPoolExecutor(_AT_ONCE, "frigate files")

    def find(self, event: Event, kind: Kind) -> Found | None:
        """See Pictures. Events that run have no file yet, but for those that were made by hand."""
        if not event.is_named_safely or (event.end_time is None and not event.is_manual):
            return None
        for source in candidates(event, kind):
            if (answer := self.head(source)) is not None:
                return Found(source, _moment(answer.headers.get("last-modified"), event))
        return None

    async def look(self, events: Sequence[Event], kind: Kind) -> list[Found | None]:
        """See Pictures."""
        loop, found = asyncio.get_running_loop(), list[Found | None]()
        for start in range(
            0, len(events), 4 * _AT_ONCE
        ):  # few, so that an API that is gone is not asked for all of them
            asked = [
                loop.run_in_executor(self._pool, self.find, event, kind)
                for event in events[start : start + 4 * _AT_ONCE]
            ]
            found += await asyncio.gather(*asked)
        return found


def _moment(last_modified: str | None, event: Event) -> float:
    try:
        return parsedate_to_datetime(last_modified or "").timestamp()
    except ValueError:
        return event.start_time if event.end_time is None else event.end_time
