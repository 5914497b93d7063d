"""The store: puts, and what each of S3's errors means. The only module that knows obstore.

obstore's own retries are off; whether and when to try again is decided by the uploader, from the error's class.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import SplitResult, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from frigate_s3_mirror.keys import odd_path
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.runtime.untrusted import shown
from frigate_s3_mirror.s3_errors import StoreError, classify, first_line
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.signed_requests import SignedRequestError, SignedRequests
from frigate_s3_mirror.storage.listing import PAGE_KEYS, BucketListing, Listed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPConnection

    from obstore import GetResult
    from obstore.store import ClientConfig, RetryConfig, S3Config

LARGE_BODY = 16 * 1024 * 1024
"""Bytes from which a body is streamed from disk in parts, so that memory stays flat."""
_MOST_FOLDER_PAGES = 10
PART = 5 * 1024 * 1024
"""Bytes of each part of a large body; the last one has what is left."""
_SMALL = 1024 * 1024  # bytes; what nearly every snapshot is
_TIMEOUT = "95s"  # a small body at 16 KB/s and half a minute more: a slower request counts as stalled
_PATIENT_TIMEOUT = "1h"  # for one large body, or one part of it
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


@dataclass(frozen=True, slots=True)
class Upload:
    """One PUT. The body is bytes, or an open file for bodies of `LARGE_BODY` and more."""

    key: str
    body: bytes | BinaryIO
    size_bytes: int
    content_type: str
    metadata: dict[str, str]
    storage_class: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    cache_control: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in the bucket."""

    size_bytes: int
    etag: str
    modified_at: float
    """Unix seconds."""
    metadata: dict[str, str]
    """Names in lower case, values as they were sent."""


class Store(Protocol):
    """The narrow port to object storage; called from several threads. Every method raises StoreError."""

    def put(self, upload: Upload, *, create: bool = False) -> str:
        """Store the object under its key, whole or not at all; returns its ETag without quotes, "" if there is none.

        With `create`, an object that is there already is left alone: StoreError with status 412. Bytes only.
        """
        ...

    def describe(self, key: str) -> Stored:
        """What is stored under the key, without its content."""
        ...

    def retry_after(self, key: str) -> float | None:
        """Seconds for which the server wants to be left alone, when it says so."""
        ...

    def get(self, key: str) -> bytes:
        """The object's content."""
        ...


class ObjectStore:
    """An S3 bucket through obstore."""

    def __init__(self, settings: Settings, environ: MutableMapping[str, str] = os.environ) -> None:
        """Prepare the client; nothing is sent yet. Raises StoreError when the settings make no client."""
        config: S3Config = {
            "region": settings.region,
            "virtual_hosted_style_request": settings.virtual_host,
            "conditional_put": "etag",
        }
        if settings.access_key is not None and settings.secret_key is not None:
            # A left-over AWS_SESSION_TOKEN or AWS_ENDPOINT_URL would be mixed with the keys that the user set.
            for name in [name for name in environ if name.startswith("AWS_")]:
                del environ[name]
            config["access_key_id"] = settings.access_key
            config["secret_access_key"] = settings.secret_key.get_secret_value()
        if settings.endpoint_url is not None:
            config["endpoint"] = _endpoint(settings)
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
        self._settings, self._environ, self._bucket = settings, environ, settings.bucket
        self._own_listing: BucketListing | None = None
        self._ca_bundle = settings.ca_bundle
        try:
            self._store = _client(settings.bucket, config, client, _TIMEOUT)
            self._patient_store = _client(settings.bucket, config, client, _PATIENT_TIMEOUT)
        except BaseError as error:
            raise StoreError(
                ErrorClass.CONFIGURATION, f"The S3 settings make no client: {first_line(error)}"
            ) from error

    def put(self, upload: Upload, *, create: bool = False) -> str:
        """See Store.put."""
        attributes: dict[str, str] = {"Content-Type": upload.content_type, **upload.metadata}
        if upload.storage_class is not None:
            attributes["Storage-Class"] = upload.storage_class
        if upload.cache_control is not None:
            attributes["Cache-Control"] = upload.cache_control
        small = isinstance(upload.body, bytes)
        store = self._store if upload.size_bytes <= _SMALL else self._patient_store
        try:
            result = obstore.put(
                store,
                upload.key,
                upload.body,
                attributes=attributes,
                tags=upload.tags or None,
                mode="create" if create else "overwrite",
                use_multipart=not small,
                chunk_size=PART,
                max_concurrency=2,
            )
        except (BaseError, OSError) as error:
            raise _refused_put(classify(error, self._bucket), upload) from error
        return (result["e_tag"] or "").strip('"')

    def describe(self, key: str) -> Stored:
        """See Store.describe."""
        check_key(key)
        try:
            found = obstore.get(self._store, key, options={"head": True})
        except FileNotFoundError as error:
            raise _no_object(key) from error
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket) from error
        return _stored(found)

    def list(self, prefix: str) -> Iterator[list[Listed]]:
        """Pages of what is under the prefix, whatever the keys look like. Raises StoreError."""
        listing = self._listing()
        if listing is None:
            yield from _listed_by_obstore(self._patient_store, prefix, self._bucket)
            return
        for page in listing.pages(_folder(prefix)):
            if page.objects:
                yield page.objects

    def folders(self, prefix: str) -> tuple[str, ...]:
        """The prefixes one level below, without a slash at the end; the first pages of them. Raises StoreError."""
        listing = self._listing()
        if listing is not None:
            pages = islice(listing.pages(_folder(prefix), delimiter="/"), _MOST_FOLDER_PAGES)
            return tuple(folder.removesuffix("/") for page in pages for folder in page.folders)
        try:
            found = obstore.list_with_delimiter(self._store, prefix or None)
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket) from error
        return tuple(str(folder).rstrip("/") for folder in found["common_prefixes"])

    def find(self, key: str) -> Listed | None:
        """What a listing says of this one key, None when it is not there. Raises StoreError."""
        listing = self._listing()
        if listing is not None:
            return listing.find(key)
        try:
            there = self.describe(key)
        except StoreError as error:
            if error.status != 404:
                raise
            return None
        return Listed(key, there.size_bytes, there.etag, there.modified_at)

    def _listing(self) -> BucketListing | None:
        """Our own listing; None where the credentials come from a role, which obstore alone can use."""
        if self._own_listing is None:
            with contextlib.suppress(SignedRequestError):
                self._own_listing = BucketListing(SignedRequests(self._settings, self._environ), self._bucket)
        return self._own_listing

    def download(self, key: str, file: BinaryIO) -> tuple[Stored, str]:
        """Write the object's content into the file, a part at a time; returns what it is and its SHA-256.

        Raises StoreError.
        """
        check_key(key)
        digest = hashlib.sha256()
        try:
            found = obstore.get(self._patient_store, key)
            for part in found.stream():
                chunk = bytes(part)
                digest.update(chunk)
                file.write(chunk)
        except FileNotFoundError as error:
            raise _no_object(key) from error
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket) from error
        return _stored(found), digest.hexdigest()

    def retry_after(self, key: str) -> float | None:
        """See Store.retry_after. obstore hands out no headers of a refusal, so a signed HEAD asks once more."""
        import http.client

        try:
            url = urlsplit(obstore.sign(self._store, "HEAD", key, timedelta(minutes=1)))
            connection = _connection(url, self._ca_bundle)
            try:
                connection.request("HEAD", f"{url.path}?{url.query}")
                answer = connection.getresponse()
                return parse_retry_after(answer.getheader("Retry-After")) if answer.status in {429, 503} else None
            finally:
                connection.close()
        except (BaseError, OSError, http.client.HTTPException):
            return None  # the usual backoff does as well

    def may_list(self, prefix: str) -> None:
        """Ask for one page of the listing under the prefix. Raises StoreError when that is not allowed."""
        listing = self._listing()
        if listing is not None:
            next(listing.pages(_folder(prefix), keys=1))
            return
        try:
            next(iter(obstore.list(self._store, prefix or None)), None)
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket) from error

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error. Raises StoreError."""
        check_key(key)
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            pass
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket) from error

    def presigned(self, key: str, seconds: float) -> str:
        """An address that lets anybody read the object for so long. Raises StoreError."""
        check_key(key)
        try:
            return str(obstore.sign(self._store, "GET", key, timedelta(seconds=seconds)))
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket) from error

    def get(self, key: str) -> bytes:
        """See Store.get."""
        check_key(key)
        try:
            return bytes(obstore.get(self._patient_store, key).bytes())
        except FileNotFoundError as error:
            raise _no_object(key) from error
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket) from error


def _listed_by_obstore(store: S3Store, prefix: str, bucket: str) -> Iterator[list[Listed]]:
    try:
        for page in obstore.list(store, prefix or None, chunk_size=PAGE_KEYS):
            yield [
                Listed(item["path"], item["size"], (item["e_tag"] or "").strip('"'), item["last_modified"].timestamp())
                for item in page
            ]
    except (BaseError, OSError) as error:
        refusal = classify(error, bucket)
        if "parsing" in str(error) or "path segment" in str(error):
            sentence = f"The bucket cannot be listed with a role's credentials ({first_line(error)}): set S3_ACCESS_KEY and S3_SECRET_KEY."
            refusal = StoreError(ErrorClass.CONFIGURATION, sentence)
        raise refusal from error


def check_key(key: str) -> None:
    """Raise StoreError for a key that obstore cannot name: a request for it is refused before it is made."""
    odd = odd_path(key)
    if odd is not None:
        raise StoreError(ErrorClass.OBJECT, f"The key {shown(key)} {odd}; no request for it can be made.")


def _folder(prefix: str) -> str:
    """The prefix as the beginning of keys: whole path segments."""
    return f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""


def md5_of_etag(etag: str) -> str | None:
    """The MD5 that an ETag may be, or None for ETags of multipart uploads and of servers that use something else."""
    match = _MD5.fullmatch(etag)
    return match.group(1) if match else None


def parts_etag(digests: Sequence[bytes]) -> str:
    """The ETag that S3 gives an object whose parts have these MD5 digests.

    Not in the API's documentation, but what AWS, MinIO, Ceph and moto do without KMS encryption.
    """
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def parse_retry_after(text: str | None, now: float | None = None) -> float | None:
    """Seconds of a Retry-After header, which holds a number or a date; None when it says nothing usable."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        at = parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
    return max(0.0, at - (time.time() if now is None else now))


def _stored(found: GetResult) -> Stored:
    metadata = {str(name).lower(): str(value) for name, value in found.attributes.items()}
    meta = found.meta
    return Stored(meta["size"], (meta["e_tag"] or "").strip('"'), meta["last_modified"].timestamp(), metadata)


def _refused_put(error: StoreError, upload: Upload) -> StoreError:
    """Ceph and others refuse a storage class that they lack with a bare InvalidArgument."""
    if error.code != "InvalidArgument" or error.error_class is not ErrorClass.OBJECT:
        return error
    if upload.storage_class in {None, "STANDARD"}:
        return error
    sentence = f"S3 says InvalidArgument, likely to the storage class {upload.storage_class}: check S3_STORAGE_CLASS."
    return StoreError(ErrorClass.CONFIGURATION, sentence, code=error.code, status=error.status)


def _no_object(key: str) -> StoreError:
    """A request for one object found nothing; unlike a PUT's 404, that says nothing about the bucket."""
    return StoreError(ErrorClass.TRANSIENT, f"There is no object {key} in the bucket.", code="NoSuchKey", status=404)


def _client(bucket: str, config: S3Config, client: ClientConfig, timeout: str) -> S3Store:
    options: ClientConfig = {**client, "timeout": timeout}
    retry: RetryConfig = {"max_retries": 0, "retry_timeout": timedelta(0)}
    return S3Store(bucket, config=config, client_options=options, retry_config=retry)


def _connection(url: SplitResult, ca_bundle: Path | None) -> HTTPConnection:
    import http.client
    import ssl

    if url.scheme == "https":
        context = ssl.create_default_context()
        if ca_bundle is not None:
            context.load_verify_locations(ca_bundle)
        return http.client.HTTPSConnection(url.netloc, timeout=5, context=context)
    return http.client.HTTPConnection(url.netloc, timeout=5)


def _endpoint(settings: Settings) -> str:
    """The endpoint as obstore wants it: with virtual hosts, the bucket is part of it."""
    endpoint = settings.endpoint_url or ""
    if not settings.virtual_host:
        return endpoint
    url = urlsplit(endpoint)
    host = url.netloc if url.netloc.startswith(f"{settings.bucket}.") else f"{settings.bucket}.{url.netloc}"
    return f"{url.scheme}://{host}"
