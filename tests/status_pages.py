"""The status page of a running mirror, asked as programs ask."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from conftest import RunningMirror


def address_of(mirror: RunningMirror) -> str:
    """Where the page is, once the service has said so."""
    mirror.wait_for(lambda: "status page: http" in mirror.log())
    found = re.findall(r"status page: (http://\S+)/", mirror.log())
    return str(found[-1])


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str


def ask(address: str, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
    """One request, redirects not followed; header names with underscores for hyphens."""
    url = urlsplit(address)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=10)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read().decode("utf-8", "replace"))
    finally:
        connection.close()
