"""Signature Version 4, pure: the headers that sign a request.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key with its secret, which hides itself."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    """Of temporary keys."""


def canonical_query(parameters: Iterable[tuple[str, str]]) -> str:
    """The parameters percent-encoded and sorted by their encoded names and values, as they are signed and sent."""
    return "&".join(f"{name}={value}" for name, value in sorted((_quoted(n), _quoted(v)) for n, v in parameters))


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs for one region."""

    keys: Keys
    region: str
    service: str = "s3"

    def signed(
        self, method: str, target: str, headers: Mapping[str, str], payload_sha256: str, now: datetime
    ) -> dict[str, str]:
        """Return the headers, all of them signed, with `x-amz-date` and `authorization`.

        `target` is the path with the query, encoded as they are sent (see `canonical_query`); `headers` have names in lower
        case and hold `host`; `now` is in UTC.
        """
        path, _, query = target.partition("?")
        stamp = f"{now:%Y%m%dT%H%M%SZ}"
        token = {"x-amz-security-token": self.keys.session_token} if self.keys.session_token else {}
        given = {**headers, **token, "x-amz-date": stamp}
        signed = dict(sorted((name, " ".join(value.split())) for name, value in given.items()))
        names = ";".join(signed)
        lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{payload_sha256}"
        scope = f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"
        text = f"{ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(_signing_key(self.keys.secret_key, scope), text.encode(), "sha256").hex()
        signed["authorization"] = (
            f"{ALGORITHM} Credential={self.keys.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return signed


@functools.lru_cache(maxsize=8)
def _signing_key(secret: str, scope: str) -> bytes:
    """The key of a day, a region and a service."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
