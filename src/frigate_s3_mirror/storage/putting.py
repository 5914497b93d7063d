"""PUTs of our own: signed, with checksums, without what the server refuses, and proved.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html and the three requests of a multipart upload.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import BinaryIO
from urllib.parse import urlencode

from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3_errors import CODES, StoreError, not_s3, of_transport, refusal
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.signed_requests import SignedRequests, text_of
from frigate_s3_mirror.storage.proof import Proof, Sent
from frigate_s3_mirror.storage.store import PART, Upload, parts_etag
from frigate_s3_mirror.storage.transport import Answer

SECONDS = 95.0
"""For a small body: at 16 KB/s, and half a minute more; a slower request counts as stalled."""
PATIENT_SECONDS = 3600.0
"""For one larger body, or one part of it."""
SMALL = 1024 * 1024
"""Bytes; what nearly every snapshot is."""
_VAIN_SECONDS = 600.0
_BLAMELESS = {"InvalidArgument", "InvalidRequest", "NotImplemented", "InvalidStorageClass"}

Ask = Callable[[dict[str, str]], Answer]
"""Sends the request with these headers."""


class Extra(StrEnum):
    """What a PUT bears that some servers refuse, and that a snapshot can do without."""

    TAGS = "object tags"
    STORAGE_CLASS = "the storage class of the preset"
    CHECKSUM = "x-amz-checksum-sha256"


_CONSEQUENCE = {
    Extra.TAGS: "lifecycle by tags (S3_LIVE_RETENTION_DAYS, S3_CLIP_RETENTION_DAYS) will not work",
    Extra.STORAGE_CLASS: "its own is used; set S3_STORAGE_CLASS to one that it has, or S3_PROVIDER",
    Extra.CHECKSUM: "Content-MD5 and the signature cover the bodies; set S3_PROVIDER=other",
}


class Putting:
    """PUTs into one bucket; remembers what its server refuses. Called from several threads."""

    def __init__(self, settings: Settings, requests: SignedRequests, proof: Proof, *, is_lenient: bool = True) -> None:
        """Not `is_lenient`, nothing is left away: for who wants to know what is refused."""
        self._settings, self._requests, self._proof = settings, requests, proof
        self._is_lenient = is_lenient
        self._left_out: frozenset[Extra] = frozenset()
        self._in_vain: dict[Extra, float] = {}
        self._asks_for_sha256 = False

    @property
    def limits(self) -> tuple[str, ...]:
        """What the server was found to refuse, a sentence each."""
        return tuple(
            f"This server refuses {extra}: {_CONSEQUENCE[extra]}." for extra in Extra if extra in self._left_out
        )

    def put(self, upload: Upload, *, create: bool = False) -> str:
        """See Store.put."""
        if isinstance(upload.body, bytes):
            return self._put_whole(upload, upload.body, create=create)
        return self._put_parts(upload, upload.body)

    # -- in one request --------------------------------------------------------------------------------------------

    def _put_whole(self, upload: Upload, body: bytes, *, create: bool) -> str:
        md5 = hashlib.md5(body, usedforsecurity=False)
        sha256 = upload.metadata.get("sha256") or hashlib.sha256(body).hexdigest()
        fixed = {"content-md5": base64.b64encode(md5.digest()).decode()}
        if create:
            fixed["if-none-match"] = "*"
        seconds = SECONDS if len(body) <= SMALL else PATIENT_SECONDS
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()

        def ask(headers: dict[str, str]) -> Answer:
            return self._send("PUT", upload.key, {}, {**headers, **fixed}, body, sha256=sha256, seconds=seconds)

        answer = self._negotiated(upload, ask, checksum, is_conditional=create)
        if create and answer.status == 412:
            self._proof.settle_conflict(answer)
            raise refusal(answer.status, answer.body, answer.headers)
        self._require_success(answer, upload)
        self._proof.settle(upload, answer, Sent(md5.hexdigest(), checksum))
        return answer.headers.get("etag", "").strip('"')

    # -- in parts --------------------------------------------------------------------------------------------------

    def _put_parts(self, upload: Upload, file: BinaryIO) -> str:
        begun = self._negotiated(
            upload, lambda headers: self._send("POST", upload.key, {"uploads": ""}, headers), "", is_conditional=False
        )
        self._require_success(begun, upload)
        upload_id = _text_in(begun.body, "UploadId")
        if not upload_id:
            raise not_s3(begun.status, begun.headers)
        try:
            etags, digests = self._send_parts(upload.key, upload_id, file)
            done = self._complete(upload.key, upload_id, etags)
            etag = _text_in(done.body, "ETag")
            told = Answer(done.status, {**done.headers, "etag": etag}, done.body)
            self._proof.settle(upload, told, Sent(parts_etag(digests)))
        except BaseException:  # parts cost money until somebody aborts them
            with contextlib.suppress(StoreError):
                self._send("DELETE", upload.key, {"uploadId": upload_id}, {})
            raise
        return etag.strip('"')

    def _send_parts(self, key: str, upload_id: str, file: BinaryIO) -> tuple[list[str], list[bytes]]:
        etags, digests = list[str](), list[bytes]()
        for number, part in enumerate(_parts(file), 1):
            digest = hashlib.md5(part, usedforsecurity=False).digest()
            headers = {"content-md5": base64.b64encode(digest).decode()}
            query = {"partNumber": str(number), "uploadId": upload_id}
            answer = self._send("PUT", key, query, headers, part, seconds=PATIENT_SECONDS)
            self._require_success(answer)
            etag = answer.headers.get("etag", "")
            if answer.status != 200 or not etag:
                raise not_s3(answer.status, answer.headers)
            etags.append(etag)
            digests.append(digest)
        return etags, digests

    def _complete(self, key: str, upload_id: str, etags: list[str]) -> Answer:
        root = ET.Element("CompleteMultipartUpload", xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
        for number, etag in enumerate(etags, 1):
            part = ET.SubElement(root, "Part")
            ET.SubElement(part, "PartNumber").text = str(number)
            ET.SubElement(part, "ETag").text = etag
        headers = {"content-type": "application/xml"}
        body = ET.tostring(root, encoding="utf-8")
        answer = self._send("POST", key, {"uploadId": upload_id}, headers, body, seconds=PATIENT_SECONDS)
        self._require_success(answer)
        return answer

    # -- what is sent with it --------------------------------------------------------------------------------------

    def _negotiated(self, upload: Upload, ask: Ask, checksum: str, *, is_conditional: bool) -> Answer:
        """The answer to the request with all that it shall bear, or without the one thing that the server refuses."""
        left_out = self._left_out
        answer = ask(self._headers(upload, left_out, checksum))
        if _asks_for_checksum(answer) and checksum and not self._sends_checksum:
            self._asks_for_sha256 = True
            answer = ask(self._headers(upload, left_out, checksum))
        if not self._is_lenient or not _may_be_an_extra(answer):
            return answer
        candidates = self._candidates(upload, left_out, checksum)
        trials = [frozenset({extra}) for extra in candidates]
        for trial in [*trials, frozenset(candidates)] if len(trials) > 1 else trials:
            other = ask(self._headers(upload, left_out | trial, checksum))
            if (other.status == 200 and not _code_in(other)) or other.status == 412:
                self._leave_out(trial)
                return other
        if not is_conditional:  # else it may have been the condition, and this says nothing
            self._in_vain.update(dict.fromkeys(candidates, time.monotonic()))
        return answer

    def _candidates(self, upload: Upload, left_out: frozenset[Extra], checksum: str) -> list[Extra]:
        """What the request bears and might be refused for. What the user asked for by name is never left away."""
        bears = {
            Extra.TAGS: bool(upload.tags),
            Extra.STORAGE_CLASS: upload.storage_class is not None and self._settings.storage_class is None,
            Extra.CHECKSUM: bool(checksum) and self._settings.preset.sha256_checksum and not self._asks_for_sha256,
        }
        now = time.monotonic()
        return [
            extra for extra, is_borne in bears.items()
            if is_borne and extra not in left_out and now - self._in_vain.get(extra, -_VAIN_SECONDS) >= _VAIN_SECONDS
        ]  # fmt: skip

    @property
    def _sends_checksum(self) -> bool:
        return self._settings.preset.sha256_checksum or self._asks_for_sha256

    def _leave_out(self, extras: frozenset[Extra]) -> None:
        self._left_out |= extras
        for sentence in self.limits:
            logger().warning("S3 snapshot mirror: %s", sentence)

    def _headers(self, upload: Upload, left_out: frozenset[Extra], checksum: str) -> dict[str, str]:
        headers = {f"x-amz-meta-{name}": value for name, value in upload.metadata.items()}
        headers["content-type"] = upload.content_type
        if upload.cache_control is not None:
            headers["cache-control"] = upload.cache_control
        if upload.storage_class is not None and Extra.STORAGE_CLASS not in left_out:
            headers["x-amz-storage-class"] = upload.storage_class
        if upload.tags and Extra.TAGS not in left_out:
            headers["x-amz-tagging"] = urlencode(upload.tags)
        if checksum and self._sends_checksum and Extra.CHECKSUM not in left_out:
            headers["x-amz-checksum-sha256"] = checksum
            headers["x-amz-sdk-checksum-algorithm"] = "SHA256"
        if self._settings.sse is not None:  # a user's safety: never left away
            headers["x-amz-server-side-encryption"] = self._settings.sse
        if self._settings.sse_kms_key_id is not None:
            headers["x-amz-server-side-encryption-aws-kms-key-id"] = self._settings.sse_kms_key_id
        return headers

    # -- answers ---------------------------------------------------------------------------------------------------

    def _require_success(self, answer: Answer, upload: Upload | None = None) -> None:
        """Raises StoreError unless it is a 2xx without an error in it; which of those are proofs is for Proof to say."""
        code = _code_in(answer)
        if 200 <= answer.status < 300 and not code:
            return
        if answer.status == 412 and not code:  # S3 does not say it to who named no condition
            raise not_s3(answer.status, answer.headers)
        error = refusal(answer.status, answer.body, answer.headers, bucket=self._settings.bucket)
        suspicion = self._suspicion(error, upload) if upload is not None else ""
        if suspicion:
            sentence = f"{str(error).rstrip('.')}; {suspicion}."
            error = StoreError(
                ErrorClass.CONFIGURATION, sentence, code=error.code, status=error.status, is_ambiguous=True
            )
        raise error

    def _suspicion(self, error: StoreError, upload: Upload) -> str:
        """Which setting is likely what the server refuses, though it does not say so; "" for none."""
        if error.code == "AccessDenied" and upload.tags and Extra.TAGS not in self._left_out:
            return "its tags need s3:PutObjectTagging, too"
        if not error.is_ambiguous or error.status not in {400, 501}:
            return ""
        if self._settings.sse is not None:
            return f"perhaps it lacks S3_SSE={self._settings.sse}, which is never left away"
        if error.code == "InvalidArgument" and upload.storage_class not in {None, "STANDARD"}:  # as Ceph says it
            return f"likely it lacks the storage class {upload.storage_class}: check S3_STORAGE_CLASS"
        return ""

    def _send(
        self, method: str, key: str, query: dict[str, str], headers: dict[str, str], body: bytes = b"", *, sha256: str | None = None,
        seconds: float | None = None,
    ) -> Answer:  # fmt: skip
        try:
            return self._requests.send(method, key, query, headers, body, sha256=sha256, seconds=seconds or SECONDS)
        except (OSError, http.client.HTTPException) as error:
            raise of_transport(error) from error
        except ValueError as error:  # http.client refuses a header that would break the request
            raise StoreError(ErrorClass.OBJECT, f"This cannot be sent ({error}).") from error


def _parts(file: BinaryIO) -> Iterator[bytes]:
    """Raises StoreError when the file cannot be read."""
    is_first = True
    while True:
        try:
            part = file.read(PART)
        except OSError as error:
            raise StoreError(ErrorClass.OBJECT, f"The file cannot be read ({error.strerror or error}).") from error
        if not part and not is_first:
            return
        yield part
        is_first = False


def _code_in(answer: Answer) -> str:
    """The code of an error, also in a 200; "" without one."""
    if b"<Error" not in answer.body and b"<Code>" not in answer.body:
        return ""
    return _text_in(answer.body, "Code") or "Error"


def _text_in(body: bytes, name: str) -> str:
    try:
        return (text_of(ET.fromstring(body.strip()), name) or "").strip()  # noqa: S314  # 64 KB at most, from the user's server
    except ET.ParseError:
        return ""


def _asks_for_checksum(answer: Answer) -> bool:
    """AWS, Backblaze and moto do so in a bucket with Object Lock."""
    if answer.status != 400:
        return False
    return (
        b"ObjectLockHeaders" in answer.body or b"x-amz-checksum" in answer.body.lower() or b"Content-MD5" in answer.body
    )


def _may_be_an_extra(answer: Answer) -> bool:
    """Whether leaving something away may help: the server refuses, and blames nothing else."""
    code = _code_in(answer)
    return answer.status in {400, 501} and (code not in CODES or code in _BLAMELESS)
