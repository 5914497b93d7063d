"""Pictures of running events from Frigate's HTTP API; Frigate writes their files only when they end.

Three ways in, told by the port: 5001 inside of the container (paths without `/api`, who asks is said in headers), 5000
on the container network (no login), 8971 with a login. Source: docs.frigate.video, "Authentication", and measurements.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from frigate_s3_mirror.settings import INNER_PORT, Settings

_CONNECT_SECONDS, _READ_SECONDS = 2.0, 10.0
_LARGEST_PICTURE = 50_000_000  # bytes
_WHO_ASKS = {"remote-user": "frigate-s3-mirror", "remote-role": "admin"}


class ApiError(Exception):
    """Frigate's API does not answer as it should; the text is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, as far as anybody needs it."""

    status: int
    content: bytes
    cookie: str


class FrigateApi:
    """One Frigate; keeps its connections. May be used from several threads."""

    def __init__(self, settings: Settings) -> None:
        import urllib3

        url = urlsplit(settings.frigate_url)
        self._base = f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}"
        is_inner = url.port == INNER_PORT
        self._prefix = "" if is_inner else "/api"
        self._headers = dict(_WHO_ASKS) if is_inner else {}
        self._settings = settings
        self._login = threading.Lock()
        if settings.frigate_token is not None:
            self._headers["authorization"] = f"Bearer {settings.frigate_token.get_secret_value()}"
        if not settings.frigate_tls_verify:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self._pool = urllib3.PoolManager(
            maxsize=4, retries=False, timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            cert_reqs="CERT_REQUIRED" if settings.frigate_tls_verify else "CERT_NONE",
        )  # fmt: skip

    def picture(self, event_id: str) -> bytes | None:
        """The best picture of an event so far, a JPEG; None when Frigate has none (it has just ended, say).

        Raises ApiError.
        """
        answer = self._get(f"/events/{quote(event_id, safe='')}/snapshot.jpg")
        if answer.status == 404:
            return None
        if answer.status != 200 or not answer.content:
            raise ApiError(f"Frigate's API at {self._base} answers with status {answer.status}; check FRIGATE_URL.")
        return answer.content

    def _get(self, path: str) -> Answer:
        answer = self._request("GET", path)
        if answer.status in {401, 403} and self._settings.frigate_user is not None:
            with self._login:
                self._sign_in()
            answer = self._request("GET", path)
        if answer.status in {401, 403}:
            raise ApiError(
                f"Frigate's API at {self._base} refuses us (status {answer.status}); use port 5000, or set FRIGATE_USER and "
                "FRIGATE_PASSWORD, or FRIGATE_TOKEN."
            )
        return answer

    def _sign_in(self) -> None:
        """Frigate's login answers with a cookie that holds a token; the same works as a bearer."""
        password = self._settings.frigate_password
        body = json.dumps(
            {"user": self._settings.frigate_user, "password": password.get_secret_value() if password else ""}
        )
        answer = self._request("POST", "/login", body.encode())
        if answer.status != 200:
            raise ApiError(
                f"Frigate at {self._base} refuses the login (status {answer.status}); check FRIGATE_USER and FRIGATE_PASSWORD."
            )
        self._headers["cookie"] = answer.cookie

    def _request(self, method: str, path: str, body: bytes | None = None) -> Answer:
        from urllib3.exceptions import HTTPError

        headers = self._headers | ({"content-type": "application/json"} if body else {})
        address = f"{self._base}{self._prefix}{path}"
        try:
            answer = self._pool.request(method, address, body=body, headers=headers, preload_content=False)
            try:
                content = answer.read(_LARGEST_PICTURE + 1)
            finally:
                answer.release_conn()
        except (HTTPError, OSError) as error:
            raise ApiError(
                f"Frigate's API at {self._base} does not answer ({_in_words(error)}); check FRIGATE_URL."
            ) from error
        if len(content) > _LARGEST_PICTURE:
            raise ApiError(f"Frigate's API at {self._base} sent more than {_LARGEST_PICTURE:,} bytes for a picture.")
        return Answer(answer.status, content, answer.headers.get("set-cookie", "").split(";", 1)[0])


def _in_words(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or type(reason).__name__)
