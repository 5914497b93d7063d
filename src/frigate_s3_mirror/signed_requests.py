"""What obstore cannot ask of S3: requests of our own about a bucket, signed by hand.

Signature: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from frigate_s3_mirror.settings import Settings

_TIMEOUT = 20.0


class SignedRequestError(Exception):
    """There are no keys to sign with, or nobody answered; the text is a sentence for the user."""


class SignedRequests:
    """Asks one bucket, with the keys of the settings."""

    def __init__(self, settings: Settings) -> None:
        """Raises SignedRequestError when the credentials come from a role."""
        if settings.access_key is None or settings.secret_key is None:
            raise SignedRequestError("S3_ACCESS_KEY and S3_SECRET_KEY are not set.")
        self._settings = settings
        self._secret = settings.secret_key.get_secret_value()
        endpoint = urlsplit(settings.endpoint_url or f"https://s3.{settings.region}.amazonaws.com")
        virtual = settings.virtual_host and not endpoint.netloc.startswith(f"{settings.bucket}.")
        self._scheme = endpoint.scheme
        self._host = f"{settings.bucket}.{endpoint.netloc}" if virtual else endpoint.netloc
        self._path = "/" if settings.virtual_host else f"/{quote(settings.bucket)}"

    def ask(self, method: str, query: Mapping[str, str], body: bytes = b"", key: str = "") -> tuple[int, bytes]:
        """Status and body of the answer about the bucket, or about an object in it. Raises SignedRequestError."""
        path = f"{self._path.rstrip('/')}/{quote(key)}" if key else self._path
        text = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(query.items()))
        headers = self._signed(method, path, text, body, datetime.now(UTC))
        connection = self._connection()
        try:
            connection.request(method, f"{path}?{text}", body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise SignedRequestError(f"S3 at {self._host} did not answer ({error}).") from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._scheme != "https":
            return http.client.HTTPConnection(self._host, timeout=_TIMEOUT)
        context = ssl.create_default_context()
        if self._settings.ca_bundle is not None:
            context.load_verify_locations(self._settings.ca_bundle)
        return http.client.HTTPSConnection(self._host, timeout=_TIMEOUT, context=context)

    def _signed(self, method: str, path: str, query: str, body: bytes, now: datetime) -> dict[str, str]:
        day, stamp = f"{now:%Y%m%d}", f"{now:%Y%m%dT%H%M%SZ}"
        digest = hashlib.sha256(body).hexdigest()
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        headers = {"content-md5": md5, "host": self._host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}"
        scope = f"{day}/{self._settings.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self._secret}".encode()
        for part in (*scope.split("/"), text):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        authorization = f"AWS4-HMAC-SHA256 Credential={self._settings.access_key}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
        return {**headers, "authorization": authorization}


def text_of(element: ET.Element, name: str) -> str | None:
    """The text of a child, whatever its namespace."""
    return next((child.text for child in element if child.tag.rpartition("}")[2] == name), None)


def said(status: int, body: bytes) -> str:
    """What S3 says in a refusal, in a few words."""
    try:
        root = ET.fromstring(body)  # noqa: S314  # from the user's own server
        return f"S3 says {text_of(root, 'Code') or f'status {status}'}, {(text_of(root, 'Message') or '').rstrip('.')}"
    except ET.ParseError:
        return f"S3 says status {status}"
