"""Requests about one bucket, signed with the keys of the settings, and their answers as S3 gave them.

Roles have keys that only obstore can fetch: without keys in the environment there are none of these requests.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from frigate_s3_mirror.s3_errors import of_transport, without_secrets
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.storage.content_md5 import content_md5
from frigate_s3_mirror.storage.endpoint import endpoint_of
from frigate_s3_mirror.storage.signature import Keys, Signer, canonical_query
from frigate_s3_mirror.storage.transport import Answer, OpenAnswer, Transport

_SECONDS = 20.0
LONGEST_DOCUMENT = 32 * 1024 * 1024
"""Bytes of an XML document about the bucket: a page of a listing holds a thousand keys, each up to some kilobytes encoded."""


class SignedRequestError(Exception):
    """There are no keys to sign with, or nobody answered; the text is a sentence for the user."""


class SignedRequests:
    """Asks one bucket, with the keys of the settings; called from several threads."""

    def __init__(self, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
        """Take the keys of the settings, else those of AWS's own variables, with their session token.

        Raises SignedRequestError when the credentials come from a role.
        """
        self._keys = _keys(settings, environ)
        self._region = settings.region
        self._endpoint = endpoint_of(settings)
        self._transport = Transport(self._endpoint.base, settings.ca_bundle)

    def use(self, keys: Keys) -> None:
        """Sign with other keys from now on."""
        self._keys = keys

    @property
    def spoiled_keys(self) -> Keys:
        """Keys whose signatures S3 refuses."""
        return replace(self._keys, secret_key=f"not {self._keys.secret_key}")

    def ask(self, method: str, query: Mapping[str, str], body: bytes = b"", key: str = "") -> tuple[int, bytes]:
        """Status and body of the answer about the bucket, or about an object in it. Raises SignedRequestError."""
        headers = {"content-md5": content_md5(body)} if body else {}
        try:
            answer = self.send(method, key, query, headers, body, longest=LONGEST_DOCUMENT)
        except (OSError, http.client.HTTPException) as error:
            raise SignedRequestError(f"{of_transport(error)} (S3 at {self._transport.host})") from error
        return answer.status, answer.body

    def send(
        self, method: str, key: str = "", query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None,
        body: bytes = b"", *, sha256: str | None = None, seconds: float = _SECONDS, longest: int = 64 * 1024, keys: Keys | None = None,
    ) -> Answer:  # fmt: skip
        """The answer, whatever it is. `sha256` is the body's, where it is known; `keys` sign instead of the settings'.

        Raises OSError or http.client.HTTPException without a whole answer.
        """
        target, signed = self._signed(method, key, query or {}, headers or {}, body, sha256=sha256, keys=keys)
        return self._transport.exchange(method, target, signed, body, seconds=seconds, longest=longest)

    @contextlib.contextmanager
    def opened(self, method: str, key: str, *, seconds: float) -> Iterator[OpenAnswer]:
        """The answer with its body still to be read. Raises as `send`."""
        target, signed = self._signed(method, key, {}, {}, b"")
        with self._transport.opened(method, target, signed, seconds=seconds) as answer:
            yield answer

    def _signed(
        self, method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes, *,
        sha256: str | None = None, keys: Keys | None = None,
    ) -> tuple[str, dict[str, str]]:  # fmt: skip
        path = self._endpoint.path_of(key) if key else self._endpoint.root
        text = canonical_query(query.items())
        target = f"{path}?{text}" if text else path
        digest = sha256 or hashlib.sha256(body).hexdigest()
        wanted = {**headers, "host": self._transport.host, "x-amz-content-sha256": digest}
        signed = Signer(keys or self._keys, self._region).signed(method, target, wanted, digest, datetime.now(UTC))
        signed["user-agent"] = "frigate-s3-mirror"  # unsigned: proxies change it
        return target, signed


def _keys(settings: Settings, environ: Mapping[str, str]) -> Keys:
    if settings.access_key is not None and settings.secret_key is not None:
        return Keys(settings.access_key, settings.secret_key.get_secret_value())
    access_key, secret_key = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key:
        raise SignedRequestError("S3_ACCESS_KEY and S3_SECRET_KEY are not set.")
    return Keys(access_key, secret_key, environ.get("AWS_SESSION_TOKEN", ""))


def text_of(element: ET.Element, name: str) -> str | None:
    """The text of a child, whatever its namespace."""
    return next((child.text for child in element if child.tag.rpartition("}")[2] == name), None)


def said(status: int, body: bytes) -> str:
    """What S3 says in a refusal, in a few words."""
    try:
        root = ET.fromstring(body)  # noqa: S314  # from the user's own server
        words = f"S3 says {text_of(root, 'Code') or f'status {status}'}, {(text_of(root, 'Message') or '').rstrip('.')}"
        return without_secrets(words)
    except ET.ParseError:
        return f"S3 says status {status}"
