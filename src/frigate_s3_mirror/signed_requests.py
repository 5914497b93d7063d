"""What obstore cannot ask of S3: requests of our own about a bucket, signed by hand.

Signature: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import ssl
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from frigate_s3_mirror.settings import Settings

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

LONGEST_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer that are read, unless the caller expects more."""
_CONNECT_TIMEOUT = 5.0
_SILENCE_TIMEOUT = 120.0  # a listing of very many objects takes its time
_ANSWER_TIMEOUT = 600.0  # for the whole body, however slowly it drips
_CHUNK = 256 * 1024


class SignedRequestError(Exception):
    """There are no keys to sign with, or nobody answered; the text is a sentence for the user."""


class SignedRequests:
    """Asks one bucket, with the keys of the settings."""

    def __init__(self, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
        """Take the keys of the settings, else those of AWS's own variables, with their session token.

        Raises SignedRequestError when the credentials come from a role.
        """
        self._settings = settings
        if settings.access_key is not None and settings.secret_key is not None:
            self._access_key, self._secret = settings.access_key, settings.secret_key.get_secret_value()
            self._session_token = ""
        elif environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"):
            self._access_key, self._secret = environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
            self._session_token = environ.get("AWS_SESSION_TOKEN", "")
        else:
            raise SignedRequestError("S3_ACCESS_KEY and S3_SECRET_KEY are not set.")
        endpoint = urlsplit(settings.endpoint_url or f"https://s3.{settings.region}.amazonaws.com")
        virtual = settings.virtual_host and not endpoint.netloc.startswith(f"{settings.bucket}.")
        self._scheme = endpoint.scheme
        self._host = f"{settings.bucket}.{endpoint.netloc}" if virtual else endpoint.netloc
        self._path = "/" if settings.virtual_host else f"/{quote(settings.bucket)}"
        self._connections: PoolManager | None = None

    def ask(
        self,
        method: str,
        query: Mapping[str, str],
        body: bytes = b"",
        key: str = "",
        *,
        longest: int = LONGEST_ANSWER,
    ) -> tuple[int, bytes]:
        """Status and body of the answer about the bucket, or about an object in it. Raises SignedRequestError."""
        from urllib3.exceptions import HTTPError

        path = f"{self._path.rstrip('/')}/{quote(key)}" if key else self._path
        text = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(query.items()))
        headers = self._signed(method, path, text, body, datetime.now(UTC))
        url = f"{self._scheme}://{self._host}{path}?{text}"
        try:
            answer = self._pool().request(
                method, url, body=body or None, headers=headers, preload_content=False, redirect=False, retries=False
            )
            try:
                return answer.status, self._bounded(answer, longest)
            finally:
                answer.close()  # a connection whose answer was read to its end is back in the pool by now
        except (OSError, HTTPError, ValueError) as error:
            raise SignedRequestError(f"S3 at {self._host} did not answer ({_reason(error)}).") from error

    def _bounded(self, answer: BaseHTTPResponse, longest: int) -> bytes:
        found, deadline = bytearray(), time.monotonic() + _ANSWER_TIMEOUT
        while chunk := answer.read(_CHUNK, decode_content=False):
            found += chunk
            if len(found) > longest:
                raise SignedRequestError(f"The answer of S3 at {self._host} has more than {longest} bytes.")
            if time.monotonic() > deadline:
                raise SignedRequestError(f"S3 at {self._host} did not answer in time.")
        return bytes(found)

    def _pool(self) -> PoolManager:
        """Connections by the way that obstore takes, too: through the proxy of HTTP_PROXY, HTTPS_PROXY and their like."""
        if self._connections is None:
            import urllib3

            context = ssl.create_default_context()
            if self._settings.ca_bundle is not None:
                context.load_verify_locations(self._settings.ca_bundle)
            timeout = urllib3.Timeout(connect=_CONNECT_TIMEOUT, read=_SILENCE_TIMEOUT)
            proxy = self._proxy()
            self._connections = (
                urllib3.ProxyManager(proxy, timeout=timeout, ssl_context=context, retries=False)
                if proxy
                else urllib3.PoolManager(timeout=timeout, ssl_context=context, retries=False)
            )
        return self._connections

    def _proxy(self) -> str | None:
        proxies = getproxies_environment()
        proxy = proxies.get(self._scheme) or proxies.get("all")
        if not proxy or proxy_bypass(self._host, proxies):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"

    def _signed(self, method: str, path: str, query: str, body: bytes, now: datetime) -> dict[str, str]:
        day, stamp = f"{now:%Y%m%d}", f"{now:%Y%m%dT%H%M%SZ}"
        digest = hashlib.sha256(body).hexdigest()
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        headers = {"content-md5": md5, "host": self._host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
        if self._session_token:
            headers["x-amz-security-token"] = self._session_token
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}"
        scope = f"{day}/{self._settings.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self._secret}".encode()
        for part in (*scope.split("/"), text):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={self._access_key}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
        )
        return {**headers, "authorization": authorization}


def _reason(error: Exception) -> str:
    """The last part of urllib3's sentence, which begins with its own names for pool and connection."""
    return str(error).rpartition(": ")[2].strip().rstrip(".") or type(error).__name__


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
