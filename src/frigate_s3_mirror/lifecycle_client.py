"""Reads and writes a bucket's lifecycle configuration, which obstore cannot: one request of its own, signed by hand.

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
from typing import Any
from urllib.parse import quote, urlsplit

from frigate_s3_mirror.policies import RULE_ID
from frigate_s3_mirror.settings import Settings

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_TIMEOUT = 20.0


class LifecycleError(Exception):
    """The configuration cannot be read or written; the text is a sentence for the user."""


class LifecycleClient:
    """One bucket's configuration. Every method raises LifecycleError."""

    def __init__(self, settings: Settings) -> None:
        if settings.access_key is None or settings.secret_key is None:
            raise LifecycleError(
                "--apply needs S3_ACCESS_KEY and S3_SECRET_KEY; with a role, give the printed rule to "
                "'aws s3api put-bucket-lifecycle-configuration'."
            )
        self._settings = settings
        self._secret = settings.secret_key.get_secret_value()
        endpoint = urlsplit(settings.endpoint_url or f"https://s3.{settings.region}.amazonaws.com")
        virtual = settings.virtual_host and not endpoint.netloc.startswith(f"{settings.bucket}.")
        self._scheme = endpoint.scheme
        self._host = f"{settings.bucket}.{endpoint.netloc}" if virtual else endpoint.netloc
        self._path = "/" if settings.virtual_host else f"/{quote(settings.bucket)}"

    def foreign_rules(self) -> list[ET.Element]:
        """The rules that are there and are not ours."""
        status, body = self._ask("GET", b"")
        if status == 404:
            return []
        if status != 200:
            raise LifecycleError(f"The bucket's rules cannot be read: {_said(status, body)}.")
        return [rule for rule in ET.fromstring(body) if _text(rule, "ID") != RULE_ID and rule.tag.endswith("Rule")]  # noqa: S314  # from the user's own server

    def write(self, rule: Mapping[str, Any], others: list[ET.Element]) -> None:
        """Replace the configuration by these others and the rule."""
        root = ET.Element("LifecycleConfiguration", xmlns=_NAMESPACE)
        for other in others:
            root.append(_plain(other))
        root.append(_element("Rule", rule))
        status, body = self._ask("PUT", ET.tostring(root, encoding="utf-8"))
        if status not in {200, 204}:
            raise LifecycleError(f"The rule was refused: {_said(status, body)}.")

    def _ask(self, method: str, body: bytes) -> tuple[int, bytes]:
        headers = self._signed(method, body, datetime.now(UTC))
        connection: http.client.HTTPConnection
        if self._scheme == "https":
            context = ssl.create_default_context()
            if self._settings.ca_bundle is not None:
                context.load_verify_locations(self._settings.ca_bundle)
            connection = http.client.HTTPSConnection(self._host, timeout=_TIMEOUT, context=context)
        else:
            connection = http.client.HTTPConnection(self._host, timeout=_TIMEOUT)
        try:
            connection.request(method, f"{self._path}?lifecycle=", body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise LifecycleError(f"S3 at {self._host} did not answer ({error}).") from error
        finally:
            connection.close()

    def _signed(self, method: str, body: bytes, now: datetime) -> dict[str, str]:
        day, stamp = f"{now:%Y%m%d}", f"{now:%Y%m%dT%H%M%SZ}"
        digest = hashlib.sha256(body).hexdigest()
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        headers = {"content-md5": md5, "host": self._host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = f"{method}\n{self._path}\nlifecycle=\n{lines}\n{names}\n{digest}"
        scope = f"{day}/{self._settings.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self._secret}".encode()
        for part in (*scope.split("/"), text):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        authorization = f"AWS4-HMAC-SHA256 Credential={self._settings.access_key}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
        return {**headers, "authorization": authorization}


def _element(name: str, value: object) -> ET.Element:
    element = ET.Element(name)
    if isinstance(value, Mapping):
        for child, content in value.items():
            element.append(_element(child, content))
    else:
        element.text = str(value)
    return element


def _plain(element: ET.Element) -> ET.Element:
    """The element without its namespace, which the root declares."""
    copy = ET.Element(element.tag.rpartition("}")[2])
    copy.text = element.text
    copy.extend(_plain(child) for child in element)
    return copy


def _text(element: ET.Element, name: str) -> str | None:
    return next((child.text for child in element if child.tag.rpartition("}")[2] == name), None)


def _said(status: int, body: bytes) -> str:
    try:
        root = ET.fromstring(body)  # noqa: S314  # from the user's own server
        return f"S3 says {_text(root, 'Code') or f'status {status}'}, {(_text(root, 'Message') or '').rstrip('.')}"
    except ET.ParseError:
        return f"S3 says status {status}"
