"""The bucket. Requests are signed and judged here and in `storage`; obstore does what it alone can.

That is: all requests of who has a role instead of keys (its credentials come from a chain of services), links for browsers,
and listings. Its retries are off; whether and when to try again is decided by the uploader, from the error's class.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from frigate_s3_mirror.environment import keys_in_files
from frigate_s3_mirror.keys import odd_path
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.runtime.untrusted import shown
from frigate_s3_mirror.s3_errors import Operation, StoreError, classify, first_line, not_s3, of_transport, refusal
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.signed_requests import SignedRequestError, SignedRequests
from frigate_s3_mirror.storage.endpoint import endpoint_of
from frigate_s3_mirror.storage.http_dates import parse_date
from frigate_s3_mirror.storage.identity import refuses_wrong_signatures
from frigate_s3_mirror.storage.listing import PAGE_KEYS, BucketListing
from frigate_s3_mirror.storage.proof import Proof, Sent
from frigate_s3_mirror.storage.putting import PATIENT_SECONDS, SMALL, Putting
from frigate_s3_mirror.storage.retry_after import parse_retry_after
from frigate_s3_mirror.storage.signature import Keys
from frigate_s3_mirror.storage.store import LARGE_BODY, PART, Listed, Store, Stored, Upload, md5_of_etag, parts_etag
from frigate_s3_mirror.storage.transport import Answer

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ClientConfig, RetryConfig, S3Config

__all__ = [
    "LARGE_BODY", "PART", "Listed", "ObjectStore", "Store", "Stored", "Upload", "md5_of_etag", "parse_retry_after", "parts_etag",
]  # fmt: skip
LONGEST_OBJECT = 64 * 1024 * 1024
"""Bytes of an object that `get` reads into memory when the caller names no bound of its own."""
_MOST_FOLDER_PAGES = 10
_SECONDS = 60.0  # for questions without a body
_TIMEOUT = "95s"
_PATIENT_TIMEOUT = "1h"
_STANDARD_HEADERS = ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language")
_STALE_KEYS = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AccessDenied"})
_Result = TypeVar("_Result")


class ObjectStore:
    """An S3 bucket."""

    def __init__(
        self, settings: Settings, environ: MutableMapping[str, str] = os.environ, *, is_lenient: bool = True
    ) -> None:
        """Prepare the clients; nothing is sent yet. Raises StoreError when the settings make no client.

        Not `is_lenient`, a PUT that is refused is not tried without its tags and the like.
        """
        self._settings, self._environ, self._is_lenient = settings, environ, is_lenient
        self._bucket = settings.bucket
        self._turn = threading.Lock()
        if settings.access_key is not None and settings.secret_key is not None:
            # A left-over AWS_SESSION_TOKEN or AWS_ENDPOINT_URL would be mixed with the keys that the user set.
            for name in [name for name in environ if name.startswith("AWS_")]:
                del environ[name]
            self._keys: Keys | None = Keys(settings.access_key, settings.secret_key.get_secret_value())
        else:
            self._keys = None  # obstore finds those of the environment, or of a role, by itself
        self._requests = _requests(settings, environ)
        self._listing = None if self._requests is None else BucketListing(self._requests, settings.bucket)
        self._make_clients()
        self._proof = Proof(self.describe, lambda key, longest: self.get(key, longest=longest), self._is_s3)
        self._putting = (
            Putting(settings, self._requests, self._proof, is_lenient=is_lenient)
            if self._requests is not None
            else None
        )

    @property
    def limits(self) -> tuple[str, ...]:
        """What the server was found to refuse and is done without, a sentence each."""
        return self._putting.limits if self._putting is not None else ()

    def put(self, upload: Upload, *, create: bool = False) -> str:
        """See Store.put."""
        putting = self._putting
        if putting is None:
            return self._put_with_role(upload, create=create)
        return self._with_new_keys(lambda: putting.put(upload, create=create), upload.body)

    def describe(self, key: str) -> Stored:
        """See Store.describe."""
        check_key(key)
        if self._requests is None:
            return self._describe_with_role(key)
        answer = self._ask(self._requests, "HEAD", key)
        if answer.status == 404:
            raise _no_object(key)
        if answer.status != 200:
            raise refusal(answer.status, answer.body, answer.headers, operation=Operation.GET, bucket=self._bucket)
        return _stored_of(answer.status, answer.headers)

    def list(self, prefix: str) -> Iterator[list[Listed]]:
        """Pages of what is under the prefix, whatever the keys look like. Raises StoreError."""
        if self._listing is None:
            yield from _listed_by_obstore(self._patient_store, prefix, self._bucket)
            return
        for page in self._listing.pages(_folder(prefix)):
            if page.objects:
                yield page.objects

    def folders(self, prefix: str) -> tuple[str, ...]:
        """The prefixes one level below, without a slash at the end; the first pages of them. Raises StoreError."""
        if self._listing is not None:
            pages = islice(self._listing.pages(_folder(prefix), delimiter="/"), _MOST_FOLDER_PAGES)
            return tuple(folder.removesuffix("/") for page in pages for folder in page.folders)
        try:
            found = obstore.list_with_delimiter(self._store, prefix or None)
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket, Operation.LIST) from error
        return tuple(str(folder).rstrip("/") for folder in found["common_prefixes"])

    def find(self, key: str) -> Listed | None:
        """What a listing says of this one key, None when it is not there. Raises StoreError."""
        if self._listing is not None:
            return self._listing.find(key)
        try:
            there = self.describe(key)
        except StoreError as error:
            if error.status != 404:
                raise
            return None
        return Listed(key, there.size_bytes, there.etag, there.modified_at)

    def download(self, key: str, file: BinaryIO) -> tuple[Stored, str]:
        """Write the object's content into the file, a part at a time; returns what it is and its SHA-256.

        Raises StoreError.
        """
        check_key(key)
        if self._requests is None:
            return self._download_with_role(key, file)
        return self._download(self._requests, key, file)

    def retry_after(self, key: str) -> float | None:
        """See Store.retry_after. Refusals bear it already (StoreError.retry_after); this asks with a HEAD."""
        if self._requests is None:
            return None  # the usual backoff does as well
        try:
            answer = self._requests.send("HEAD", key, seconds=5.0)
        except (OSError, http.client.HTTPException):
            return None
        return parse_retry_after(answer.headers.get("retry-after")) if answer.status in {429, 503} else None

    def may_list(self, prefix: str) -> None:
        """Ask for one page of the listing under the prefix. Raises StoreError when that is not allowed."""
        if self._listing is not None:
            next(self._listing.pages(_folder(prefix), keys=1))
            return
        try:
            next(iter(obstore.list(self._store, prefix or None)), None)
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket, Operation.LIST) from error

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error. Raises StoreError."""
        check_key(key)
        if self._requests is not None:
            answer = self._ask(self._requests, "DELETE", key)
            if answer.status not in {200, 204, 404}:
                raise refusal(
                    answer.status, answer.body, answer.headers, operation=Operation.DELETE, bucket=self._bucket
                )
            return
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            pass
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket, Operation.DELETE) from error

    def presigned(self, key: str, seconds: float) -> str:
        """An address that lets anybody read the object for so long. Raises StoreError."""
        check_key(key)
        try:
            return str(obstore.sign(self._store, "GET", key, timedelta(seconds=seconds)))
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket, Operation.GET) from error

    def get(self, key: str, *, longest: int | None = None) -> bytes:
        """Return the object's content; one of more bytes than `longest` is refused. Raises StoreError."""
        check_key(key)
        longest = LONGEST_OBJECT if longest is None else longest
        if self._requests is None:
            return self._get_with_role(key, longest)
        answer = self._ask(self._requests, "GET", key, seconds=PATIENT_SECONDS, longest=longest)
        if answer.status == 404:
            raise _no_object(key)
        if answer.status != 200:
            raise refusal(answer.status, answer.body, answer.headers, operation=Operation.GET, bucket=self._bucket)
        return answer.body

    # -- with keys -------------------------------------------------------------------------------------------------

    def _ask(
        self, requests: SignedRequests, method: str, key: str, query: Mapping[str, str] | None = None, *, seconds: float = _SECONDS, longest: int = 1024 * 1024
    ) -> Answer:  # fmt: skip
        try:
            answer = requests.send(method, key, query, seconds=seconds, longest=longest)
            if answer.status in {401, 403} and self._reread_keys():
                answer = requests.send(method, key, query, seconds=seconds, longest=longest)
        except (OSError, http.client.HTTPException) as error:
            raise of_transport(error) from error
        return answer

    def _download(self, requests: SignedRequests, key: str, file: BinaryIO) -> tuple[Stored, str]:
        digest = hashlib.sha256()
        self.describe(key)  # renews the keys where they changed
        try:
            with requests.opened("GET", key, seconds=PATIENT_SECONDS) as answer:
                if answer.status == 404:
                    raise _no_object(key)
                if answer.status != 200:
                    told = answer.read_beginning()
                    raise refusal(answer.status, told, answer.headers, operation=Operation.GET, bucket=self._bucket)
                while chunk := answer.read(1024 * 1024):
                    digest.update(chunk)
                    _write(file, chunk)
                return _stored_of(answer.status, answer.headers), digest.hexdigest()
        except (OSError, http.client.HTTPException) as error:
            raise of_transport(error) from error

    def _with_new_keys(self, ask: Callable[[], _Result], body: bytes | BinaryIO) -> _Result:
        """The result; where S3 refuses the keys and their files hold others by now, of a second try with those."""
        try:
            return ask()
        except StoreError as error:
            refused = error.code in _STALE_KEYS or error.status in {401, 403}
            if not refused or not self._reread_keys():
                raise
        if not isinstance(body, bytes):
            body.seek(0)
        return ask()

    def _reread_keys(self) -> bool:
        """Whether the files of S3_ACCESS_KEY_FILE and S3_SECRET_KEY_FILE hold other keys than those in use, which are then used."""
        found = keys_in_files(self._environ)
        with self._turn:
            if found is None or self._requests is None or (keys := Keys(*found)) == self._keys:
                return False
            self._keys = keys
            self._requests.use(keys)
            self._make_clients()
        logger().info("S3 snapshot mirror: the keys in S3_ACCESS_KEY_FILE and S3_SECRET_KEY_FILE are read again")
        return True

    def _is_s3(self) -> bool:
        """AWS proves itself by its certificate, all others by what they refuse."""
        if self._requests is None:
            return endpoint_of(self._settings).base.scheme == "https"
        return refuses_wrong_signatures(self._requests, self._settings)

    # -- with a role: obstore --------------------------------------------------------------------------------------

    def _make_clients(self) -> None:
        settings = self._settings
        config: S3Config = {
            "region": settings.region,
            "virtual_hosted_style_request": settings.virtual_host,
            "conditional_put": "etag",
            "endpoint": endpoint_of(settings).url,
        }
        if self._keys is not None:
            config["access_key_id"] = self._keys.access_key
            config["secret_access_key"] = self._keys.secret_key
        if settings.preset.sha256_checksum:
            config["checksum_algorithm"] = "SHA256"
        if settings.sse is not None:
            config["server_side_encryption"] = settings.sse
        if settings.sse_kms_key_id is not None:
            config["sse_kms_key_id"] = settings.sse_kms_key_id
        client: ClientConfig = {"connect_timeout": "5s", "user_agent": "frigate-s3-mirror"}
        if (settings.endpoint_url or "").startswith("http://"):
            client["allow_http"] = True
        if settings.ca_bundle is not None:
            client["root_certificate"] = settings.ca_bundle.read_bytes()
        try:
            self._store = _client(settings.bucket, config, client, _TIMEOUT)
            self._patient_store = _client(settings.bucket, config, client, _PATIENT_TIMEOUT)
        except BaseError as error:
            raise StoreError(
                ErrorClass.CONFIGURATION, f"The S3 settings make no client: {first_line(error)}"
            ) from error

    def _put_with_role(self, upload: Upload, *, create: bool) -> str:
        attributes: dict[str, str] = {"Content-Type": upload.content_type, **upload.metadata}
        if upload.storage_class is not None:
            attributes["Storage-Class"] = upload.storage_class
        if upload.cache_control is not None:
            attributes["Cache-Control"] = upload.cache_control
        content = upload.body if isinstance(upload.body, bytes) else None
        try:
            result = obstore.put(
                self._store if upload.size_bytes <= SMALL else self._patient_store,
                upload.key,
                upload.body,
                attributes=attributes,
                tags=upload.tags or None,
                mode="create" if create else "overwrite",
                use_multipart=content is None,
                chunk_size=PART,
                max_concurrency=2,
            )
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket) from error
        etag = result["e_tag"] or ""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() if content is not None else ""
        self._proof.settle(upload, Answer(200, {"etag": etag}), Sent(md5))
        return etag.strip('"')

    def _describe_with_role(self, key: str) -> Stored:
        try:
            found = obstore.get(self._store, key, options={"head": True})
        except FileNotFoundError as error:
            raise _no_object(key) from error
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket, Operation.GET) from error
        return _stored(found)

    def _get_with_role(self, key: str, longest: int) -> bytes:
        try:
            found = obstore.get(self._patient_store, key)
            if found.meta["size"] > longest:
                raise StoreError(ErrorClass.OBJECT, f"The object {key} is longer than {longest} bytes.")
            return bytes(found.bytes())
        except FileNotFoundError as error:
            raise _no_object(key) from error
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket, Operation.GET) from error

    def _download_with_role(self, key: str, file: BinaryIO) -> tuple[Stored, str]:
        digest = hashlib.sha256()
        try:
            found = obstore.get(self._patient_store, key)
            for part in found.stream():
                chunk = bytes(part)
                digest.update(chunk)
                _write(file, chunk)
        except FileNotFoundError as error:
            raise _no_object(key) from error
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket, Operation.GET) from error
        return _stored(found), digest.hexdigest()


def _write(file: BinaryIO, chunk: bytes) -> None:
    """Raises StoreError: a disk that is full is no answer of S3's."""
    try:
        file.write(chunk)
    except OSError as error:
        raise StoreError(ErrorClass.OBJECT, f"The file cannot be written ({error.strerror or error}).") from error


def _stored_of(status: int, headers: Mapping[str, str]) -> Stored:
    """The object that the answer to a HEAD or GET tells of. Raises StoreError where it tells of none."""
    size = headers.get("content-length", "")
    is_page = "html" in headers.get("content-type", "") and not any(name.startswith("x-amz-") for name in headers)
    if is_page or not (size.isascii() and size.isdigit()):
        raise not_s3(status, headers)
    metadata = {
        name.removeprefix("x-amz-meta-"): value for name, value in headers.items() if name.startswith("x-amz-meta-")
    }
    metadata |= {name: headers[name] for name in _STANDARD_HEADERS if name in headers}
    modified_at = parse_date(headers.get("last-modified"))
    etag = headers.get("etag", "").strip('"')
    return Stored(int(size), etag, time.time() if modified_at is None else modified_at, metadata)


def _stored(found: GetResult) -> Stored:
    metadata = {str(name).lower(): str(value) for name, value in found.attributes.items()}
    meta = found.meta
    return Stored(meta["size"], (meta["e_tag"] or "").strip('"'), meta["last_modified"].timestamp(), metadata)


def _requests(settings: Settings, environ: Mapping[str, str]) -> SignedRequests | None:
    """Requests of our own, None where the credentials come from a role. Raises StoreError."""
    try:
        return SignedRequests(settings, environ)
    except SignedRequestError:
        return None
    except OSError as error:  # the bundle of S3_CA_BUNDLE is gone or no longer one
        sentence = f"The S3 settings make no client: {first_line(error)}."
        raise StoreError(ErrorClass.CONFIGURATION, sentence) from error


def _listed_by_obstore(store: S3Store, prefix: str, bucket: str) -> Iterator[list[Listed]]:
    try:
        for page in obstore.list(store, prefix or None, chunk_size=PAGE_KEYS):
            yield [
                Listed(item["path"], item["size"], (item["e_tag"] or "").strip('"'), item["last_modified"].timestamp())
                for item in page
            ]
    except (BaseError, OSError) as error:
        error_of_s3 = classify(error, bucket, Operation.LIST)
        if "parsing" in str(error) or "path segment" in str(error):
            sentence = f"The bucket cannot be listed with a role's credentials ({first_line(error)}): set S3_ACCESS_KEY and S3_SECRET_KEY."
            error_of_s3 = StoreError(ErrorClass.CONFIGURATION, sentence)
        raise error_of_s3 from error


def check_key(key: str) -> None:
    """Raise StoreError for a key that obstore cannot name: a request for it is refused before it is made."""
    odd = odd_path(key)
    if odd is not None:
        raise StoreError(ErrorClass.OBJECT, f"The key {shown(key)} {odd}; no request for it can be made.")


def _folder(prefix: str) -> str:
    """The prefix as the beginning of keys: whole path segments."""
    return f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""


def _no_object(key: str) -> StoreError:
    """A request for one object found nothing; unlike a PUT's 404, that says nothing about the bucket."""
    return StoreError(ErrorClass.TRANSIENT, f"There is no object {key} in the bucket.", code="NoSuchKey", status=404)


def _client(bucket: str, config: S3Config, client: ClientConfig, timeout: str) -> S3Store:
    options: ClientConfig = {**client, "timeout": timeout}
    retry: RetryConfig = {"max_retries": 0, "retry_timeout": timedelta(0)}
    return S3Store(bucket, config=config, client_options=options, retry_config=retry)
