"""Whether an answer to a PUT proves that S3 has the object. What is no proof is looked up, and never believed.

Proofs are: an ETag that is the MD5 of what was sent, or a checksum that the server made itself. Else the object is looked
up. A key that may only write cannot look: then the server must have shown that it is S3, by refusing what is signed wrongly,
and must show it again whenever its answers look different.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3_errors import Failure, StoreError, not_s3
from frigate_s3_mirror.storage.store import Stored, Upload, md5_of_etag
from frigate_s3_mirror.storage.transport import Answer

_DENIED = frozenset({401, 403})
_MOST_SHAPES = 64


class Evidence(Enum):
    """What the answer itself says."""

    PROOF = auto()
    """The server names a checksum of what was sent."""
    NONE = auto()
    """It names nothing that can be compared."""
    ANOTHER = auto()
    """It names an MD5 of something else; or the bucket is encrypted, and it only looks so."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent, as a server may name it."""

    etag: str
    """The MD5 in hex, or that of the parts with their number."""
    checksum: str = ""
    """The SHA-256 in base64, where it was sent to be checked."""


def weigh(answer: Answer, sent: Sent) -> Evidence:
    """Say what the answer itself proves."""
    etag = answer.headers.get("etag", "").strip()
    if answer.status != 200:
        return Evidence.NONE
    if sent.checksum and answer.headers.get("x-amz-checksum-sha256") == sent.checksum:
        return Evidence.PROOF
    if etag.strip('"').lower() == sent.etag:
        return Evidence.PROOF
    if md5_of_etag(etag) is None or "kms" in answer.headers.get("x-amz-server-side-encryption", ""):
        return Evidence.NONE
    return Evidence.ANOTHER


def _may_be_s3s(answer: Answer) -> bool:
    """Whether it looks like S3's answer to an upload: its marks in the head, and no text but the end of an upload in parts.

    A page that something on the way puts in now and then has neither, while the next request, in which the server shows what
    it is, may well reach S3.
    """
    has_marks = bool(answer.headers.get("etag", "").strip('" ')) or any(n.startswith("x-amz-") for n in answer.headers)
    is_text = bool(answer.body.strip()) and b"<CompleteMultipartUploadResult" not in answer.body
    return answer.status == 200 and has_marks and not is_text


def shape(answer: Answer) -> tuple[str, ...]:
    """What stays the same in the answers of one server: the form of its ETag, and the names of its headers."""
    etag = re.sub(r"[0-9a-fA-F]+", "0", answer.headers.get("etag", ""))
    kind = answer.headers.get("content-type", "")
    return (etag[:40], kind[:80], answer.headers.get("server", "")[:80], *sorted(answer.headers)[:60])


class Proof:
    """Decides on the answers of one server, and remembers what it learned of it. Called from several threads."""

    def __init__(
        self, describe: Callable[[str], Stored], get: Callable[[str, int], bytes], is_s3: Callable[[], bool]
    ) -> None:
        """`describe` and `get` (with the longest size) look into the bucket; `is_s3` has the server show what it is."""
        self._describe, self._get, self._is_s3 = describe, get, is_s3
        self._etags_are_md5: bool | None = None
        self._trusted: set[tuple[str, ...]] = set()
        self._damaged: set[str] = set()

    def settle(self, upload: Upload, answer: Answer, sent: Sent) -> None:
        """Return when S3 has the object. Raises StoreError: it has not, or it is not known."""
        match weigh(answer, sent):
            case Evidence.PROOF:
                if self._etags_are_md5 is None and isinstance(upload.body, bytes):
                    self._etags_are_md5 = md5_of_etag(answer.headers.get("etag", "")) == sent.etag
            case Evidence.ANOTHER if self._etags_are_md5 is not False and isinstance(upload.body, bytes):
                self._compare(upload, upload.body, answer)
            case _:
                self._look_up(upload, answer)
        self._damaged.discard(upload.key)

    def settle_conflict(self, answer: Answer) -> None:
        """Return when a 412 is S3's own, and no other program's. Raises StoreError."""
        if b"<Code>PreconditionFailed</Code>" not in answer.body:
            self._trust(answer)

    def _compare(self, upload: Upload, content: bytes, answer: Answer) -> None:
        """With KMS encryption an ETag looks like an MD5 and is none, so one that differs is settled by reading back."""
        try:
            is_same = self._reads_the_same(upload.key, content)
        except StoreError as error:
            if error.status not in _DENIED:
                raise
            if self._etags_are_md5 and upload.key not in self._damaged:
                raise self._damage(upload.key) from error
            if not _may_be_s3s(answer):
                raise not_s3(answer.status, answer.headers) from error
            self._trust(answer)
            is_same = True
        if not is_same:
            raise self._damage(upload.key)
        if self._etags_are_md5 is None:
            self._etags_are_md5 = False
            logger().info("S3 ETags are no MD5 here (encrypted bucket?); each object is looked up instead")

    def _look_up(self, upload: Upload, answer: Answer) -> None:
        try:
            there = self._describe(upload.key)
        except StoreError as error:
            if error.status in _DENIED and _may_be_s3s(answer):
                self._trust(answer)
                return
            if error.failure is not None:
                raise
            if error.status in {404, *_DENIED} or error.status is None or error.status < 400:
                raise not_s3(answer.status, answer.headers) from error
            raise
        sha256 = upload.metadata.get("sha256")
        if there.size_bytes == upload.size_bytes and sha256 is not None and there.metadata.get("sha256") == sha256:
            return
        # What bears no checksum of ours is read; some servers keep no metadata.
        if isinstance(upload.body, bytes) and self._reads_the_same(upload.key, upload.body):
            return
        raise not_s3(answer.status, answer.headers)

    def _reads_the_same(self, key: str, content: bytes) -> bool:
        try:
            return self._get(key, len(content)) == content
        except StoreError as error:
            if error.failure is Failure.TOO_LONG:
                return False
            raise

    def _trust(self, answer: Answer) -> None:
        """The key may not look. Content-MD5 and the signature cover the body, if it is S3 that checked them."""
        looks = shape(answer)
        if looks in self._trusted:
            return
        if not self._is_s3():
            raise not_s3(answer.status, answer.headers)
        if len(self._trusted) < _MOST_SHAPES:
            self._trusted.add(looks)

    def _damage(self, key: str) -> StoreError:
        self._damaged.add(key)
        sentence = "S3 stored something else than was sent (its ETag differs); sending it again."
        return StoreError(ErrorClass.TRANSIENT, sentence, code=DAMAGED)


DAMAGED = "Damaged"
"""The code of an error that says that what S3 holds under the key is not what was sent; no code of S3's."""
