"""Where a picture comes from: the bucket when the key may read it, else the file that Frigate still has."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from frigate_s3_mirror.catalogue import Picture
from frigate_s3_mirror.frigate_access import access
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.s3_reading import ReadingStore
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import (
    DiskFiles,
    Files,
    SourceRefusedError,
    SourceUnreachableError,
    SourceVanishedError,
)
from frigate_s3_mirror.spool import FOLDER_NAME, kept_name

LINK_SECONDS = 600.0
"""How long a presigned address works."""
_ANSWER_SECONDS = 3.0
"""How long a person waits for pictures of a server that does not answer."""
_MEDIA_TYPES = {"jpg": "image/jpeg", "webp": "image/webp", "png": "image/png"}


class Origin(StrEnum):
    """Where the pictures on the page are from."""

    BUCKET = "bucket"
    LOCAL = "local"
    """The key may write only, so the page shows what Frigate still has."""
    AWAY = "away"
    """S3 does not answer now, so the page shows what Frigate still has."""


_ASK_AGAIN_SECONDS = {Origin.BUCKET: 20.0, Origin.LOCAL: 600.0, Origin.AWAY: 15.0}
"""Until S3 is asked again while somebody looks: an outage is noticed soon, and a key's rights seldom change."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """A picture that this server hands out itself."""

    content: bytes
    media_type: str


class Pictures:
    """Finds out once in a while what the key may read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store: ReadingStore | None = None
        self._origin = Origin.BUCKET
        self._question: Future[Origin] | None = None
        self._ask_at = 0.0
        self._bucket_origin: str | None = None
        self.proxied = settings.status_proxy
        self.frigate = access(settings)
        """Kept: over the API it holds connections."""

    @property
    def store(self) -> ReadingStore:
        """Made at the first use."""
        if self._store is None:
            self._store = ReadingStore(self._settings)
        return self._store

    def origin(self, picture: Picture | None) -> Origin:
        """Where pictures like this one come from; asks S3 now and then."""
        return self.origin_of(None if picture is None else picture.key)

    def origin_of(self, key: str | None) -> Origin:
        """The same by a key that the bucket should have."""
        if key is not None and time.monotonic() >= self._ask_at:
            # First, so that others do not ask the same.
            self._ask_at = time.monotonic() + _ANSWER_SECONDS
            self._origin = self._asked_with_patience(key)
            self._ask_at = time.monotonic() + _ASK_AGAIN_SECONDS[self._origin]
        return self._origin

    def s3_failed(self) -> None:
        """Ask again before the next picture: S3 answered when it was asked last, and does not now."""
        self._ask_at = 0.0

    @property
    def bucket_origin(self) -> str:
        """Scheme and host of presigned addresses, for the Content-Security-Policy."""
        if self._bucket_origin is None:
            url = urlsplit(self.store.presigned("any", LINK_SECONDS))
            self._bucket_origin = f"{url.scheme}://{url.netloc}"
        return self._bucket_origin

    def address(self, picture: Picture) -> str | None:
        """A presigned address for a browser, or None when this server should hand it out."""
        if picture.state is not State.UPLOADED or picture.key is None or self.proxied:
            return None
        if self.origin(picture) is not Origin.BUCKET:
            return None
        return self.address_of(picture.key)

    def address_of(self, key: str, seconds: float = LINK_SECONDS) -> str:
        """A presigned address of any key."""
        return self.store.presigned(key, seconds)

    def is_served_here(self, key: str) -> bool:
        """Whether a browser gets objects like this from this server, and not by a presigned address."""
        return self.proxied or self.origin_of(key) is not Origin.BUCKET

    def read(self, picture: Picture) -> Bytes | None:
        """The picture itself, from the bucket or from this machine; None when neither has it."""
        if picture.state is State.UPLOADED and picture.key is not None and self.origin(picture) is Origin.BUCKET:
            try:
                return Bytes(self.store.get(picture.key), _media_type(picture.key))
            except StoreError:
                self.s3_failed()  # shown from here, if it is still here
        return self._local(picture)

    def _local(self, picture: Picture) -> Bytes | None:
        if picture.source is None or ":" in picture.source:
            return None
        spool = DiskFiles(self._settings.ledger_dir / FOLDER_NAME)
        for files, name in ((self.frigate.pictures, picture.source), (spool, kept_name(picture.source))):
            if (content := _content(files, name)) is not None:
                return Bytes(content, _media_type(picture.source))
        return None

    def _asked_with_patience(self, key: str) -> Origin:
        """A server that hangs is away; as long as one question hangs, no other is asked."""
        if self._question is None:
            self._question = Future()
            threading.Thread(target=self._answer, args=(self._question, key), name="ask S3", daemon=True).start()
        try:
            answer = self._question.result(_ANSWER_SECONDS)
        except TimeoutError:
            return Origin.AWAY
        self._question = None
        return answer

    def _answer(self, question: Future[Origin], key: str) -> None:
        try:
            question.set_result(self._asked(key))
        except Exception as error:  # noqa: BLE001  # outermost frame of the thread: raised where it was asked
            question.set_exception(error)

    def _asked(self, key: str) -> Origin:
        """A refusal is a lack of permission, an object that is not there is not; everything else is an outage."""
        try:
            self.store.describe(key)
        except StoreError as error:
            if error.status in {401, 403}:
                return Origin.LOCAL
            return Origin.BUCKET if error.status == 404 else Origin.AWAY
        return Origin.BUCKET


def _content(files: Files, source: str) -> bytes | None:
    try:
        descriptor, _size = files.open(source)
    except (SourceVanishedError, SourceRefusedError, SourceUnreachableError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _media_type(name: str) -> str:
    return _MEDIA_TYPES.get(name.rsplit(".", 1)[-1], "application/octet-stream")
