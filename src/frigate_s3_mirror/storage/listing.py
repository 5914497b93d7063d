"""The bucket's listing, a page at a time and whatever its keys look like.

obstore refuses a whole page for one key with an empty or dotted segment or a control character, so that one odd object
would hide all others. Here a key is text and nothing else; who uses it decides what can be done with it.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import unquote_plus
from xml.parsers import expat

from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.runtime.untrusted import RefusedValueError, unix_time
from frigate_s3_mirror.s3_errors import Operation, StoreError, of_transport, refusal
from frigate_s3_mirror.signed_requests import SignedRequests
from frigate_s3_mirror.storage.store import Listed
from frigate_s3_mirror.storage.transport import Answer

PAGE_KEYS = 1000
"""Keys that are asked for at a time; S3 gives no more."""
_LONGEST_PAGE = 16 * 1024 * 1024  # bytes; a thousand keys of 1024 characters, percent-encoded, are 4 MB
_MOST_EMPTY_PAGES = 100  # in a row: S3 may answer with empty pages where many objects were deleted
_SECONDS = 600.0  # a listing of very many objects takes its time
_TRIES = 3
_PAUSE = 0.5  # seconds before the second try, twice that before the third
_DEEPEST = 16  # elements within each other; a listing has four
_ROOT = "ListBucketResult"
_NO_LISTING = "This is no listing of S3's: another program or a login page answers; check S3_ENDPOINT_URL."
_RAW_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_REFERENCE = re.compile(r"&#(?:[xX]([0-9a-fA-F]{1,8})|([0-9]{1,10}));")


@dataclass(frozen=True, slots=True)
class Page:
    """One answer. `folders` are prefixes one level below the asked one, with their slash."""

    objects: list[Listed]
    folders: list[str]
    is_truncated: bool
    next_token: str | None


class NoListingError(Exception):
    """The document is not a listing."""


class BucketListing:
    """Lists one bucket. Every method raises StoreError, and gives each key as it is."""

    def __init__(self, requests: SignedRequests, bucket: str) -> None:
        self._requests, self._bucket = requests, bucket

    def pages(self, prefix: str, *, delimiter: str = "", keys: int = PAGE_KEYS) -> Iterator[Page]:
        """Yield what begins with this text, page after page, until the end or until the answers go round in circles."""
        query = {"list-type": "2", "encoding-type": "url", "max-keys": str(keys)}
        query |= {name: value for name, value in (("prefix", prefix), ("delimiter", delimiter)) if value}
        progress = _Progress()
        while True:
            page = self._page(query)
            yield page
            if not page.is_truncated:
                return
            position = progress.after(page)
            if position is None:
                raise StoreError(
                    ErrorClass.TRANSIENT, "The bucket's listing does not come to an end: its pages repeat themselves."
                )
            query = {n: v for n, v in query.items() if n not in {"continuation-token", "start-after"}} | position

    def find(self, key: str) -> Listed | None:
        """Return the object of this very key, None when there is none."""
        page = next(self.pages(key, keys=10))
        return next((found for found in page.objects if found.key == key), None)

    def _page(self, query: dict[str, str]) -> Page:
        for attempt in range(1, _TRIES + 1):
            try:
                return self._ask(query)
            except StoreError as error:
                if error.error_class is not ErrorClass.TRANSIENT or attempt == _TRIES:
                    raise
                time.sleep(_PAUSE * attempt)
        raise AssertionError  # the last try returns or raises

    def _ask(self, query: dict[str, str]) -> Page:
        try:
            answer = self._requests.send("GET", query=query, seconds=_SECONDS, longest=_LONGEST_PAGE)
        except (OSError, http.client.HTTPException) as error:
            raise of_transport(error) from error
        if answer.status != HTTPStatus.OK:
            raise _refusal(answer, self._bucket)
        try:
            return parse_page(answer.body)
        except NoListingError as error:
            raise StoreError(ErrorClass.CONFIGURATION, _NO_LISTING, status=answer.status, is_from_s3=False) from error


@dataclass(slots=True)
class _Progress:
    """Notices a listing without an end: a token or a page's first key that comes again, or nothing but empty pages."""

    seen: set[str] = field(default_factory=set)
    empty: int = 0

    def after(self, page: Page) -> dict[str, str] | None:
        """Return the query that goes on behind this page, None when the listing does not get anywhere."""
        first = page.objects[0].key if page.objects else page.folders[0] if page.folders else None
        last = max([found.key for found in page.objects] + page.folders, default="")
        self.empty = 0 if first is not None else self.empty + 1
        marks = {f"key {first}" if first is not None else "", f"token {page.next_token}" if page.next_token else ""}
        marks.discard("")
        if marks & self.seen or self.empty > _MOST_EMPTY_PAGES or not (page.next_token or last):
            return None
        self.seen |= marks
        return {"continuation-token": page.next_token} if page.next_token else {"start-after": last}


def parse_page(body: bytes) -> Page:
    """Read one answer. Odd bytes become U+FFFD; an item that lacks its size or time is still an item.

    Raises:
        NoListingError: no XML, another document, or one with a document type (entities are never expanded).
    """
    reader = _Reader()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text.append
    parser.StartDoctypeDeclHandler = _refuse_document_type
    try:
        parser.Parse(_well_formed(body).encode(), True)  # the final piece
    except expat.ExpatError as error:
        raise NoListingError(str(error)) from error
    return reader.page()


class _Reader:
    """Collects what the elements say; names count without their namespace."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self._path: list[str] = []
        self._item: dict[str, str] = {}
        self._items: list[dict[str, str]] = []
        self._folders: list[str] = []
        self._facts: dict[str, str] = {}

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if (not self._path and name != _ROOT) or len(self._path) >= _DEEPEST:
            raise NoListingError(f"element {name}")
        self._path.append(name)
        self.text.clear()
        if len(self._path) == 2:
            self._item = {}

    def end(self, _name: str) -> None:
        name, text = self._path.pop(), "".join(self.text)
        self.text.clear()
        match self._path[1:]:
            case ["Contents"]:
                self._item[name] = text
            case ["CommonPrefixes"] if name == "Prefix":
                self._folders.append(text)
            case [] if name == "Contents" and self._path:
                self._items.append(self._item)
            case [] if self._path:
                self._facts[name] = text

    def page(self) -> Page:
        is_encoded = self._facts.get("EncodingType") == "url"
        return Page(
            [_listed(item, is_encoded=is_encoded) for item in self._items if item.get("Key")],
            [_decoded(folder, is_encoded=is_encoded) for folder in self._folders if folder],
            self._facts.get("IsTruncated", "").strip().lower() == "true",
            self._facts.get("NextContinuationToken") or None,
        )


def _listed(item: dict[str, str], *, is_encoded: bool) -> Listed:
    size = item.get("Size", "").strip()
    return Listed(
        _decoded(item["Key"], is_encoded=is_encoded),
        int(size) if size.isascii() and size.isdigit() and len(size) < 19 else -1,
        item.get("ETag", "").strip().strip('"'),
        _time(item.get("LastModified", "")),
    )


def _decoded(text: str, *, is_encoded: bool) -> str:
    """A blank is "+" on AWS, rclone and MinIO, "%20" elsewhere; a plus is "%2B" everywhere."""
    return unquote_plus(text, errors="replace") if is_encoded else text


def _time(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.strip())
        return unix_time(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())
    except (ValueError, OverflowError, RefusedValueError):
        return 0.0


def _well_formed(body: bytes) -> str:
    """The document without what XML cannot hold: servers that do not encode their keys put it in all the same."""
    text = _RAW_CONTROL.sub("\ufffd", body.decode("utf-8", "replace"))
    return _REFERENCE.sub(lambda match: match[0] if _may_refer(match) else "\ufffd", text)


def _may_refer(match: re.Match[str]) -> bool:
    code = int(match[1], 16) if match[1] else int(match[2])
    return code in {0x9, 0xA, 0xD} or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or 0x10000 <= code <= 0x10FFFF


def _refuse_document_type(*_: object) -> None:
    raise NoListingError("a document type")


def _refusal(answer: Answer, bucket: str) -> StoreError:
    """A listing that is refused for good is a matter of the settings, whatever it would be for an object."""
    error = refusal(answer.status, answer.body, answer.headers, operation=Operation.LIST, bucket=bucket)
    if error.error_class is ErrorClass.OBJECT:
        return StoreError(ErrorClass.CONFIGURATION, str(error), code=error.code, status=error.status)
    return error
