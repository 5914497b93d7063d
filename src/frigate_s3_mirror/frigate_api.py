"""Frigate's HTTP API: rows of its tables, pictures of running events, and the files that its nginx hands out.

Three ways in, told by the port: 5001 inside of the container (paths without `/api`, who asks is said in headers), 5000
on the container network (no login), 8971 with a login. Source: docs.frigate.video, "Authentication", and measurements.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from frigate_s3_mirror.api_login import LoginPause
from frigate_s3_mirror.events import FrigateError
from frigate_s3_mirror.runtime.untrusted import RefusedValueError, parse_json
from frigate_s3_mirror.settings import INNER_PORT, Settings
from frigate_s3_mirror.storage.retry_after import parse_retry_after

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_CONNECT_SECONDS, _READ_SECONDS = 2.0, 10.0
_LARGEST_ANSWER = 50_000_000  # bytes
_MOST_KEPT = 16  # connections: uploads, clips, live pictures and the asking may run at a time
_WHO_ASKS = {"remote-user": "frigate-s3-mirror", "remote-role": "admin"}
# Frigate's nginx remembers JSON answers for 5 seconds, unless it is told not to (nginx.conf of 0.14 to 0.18).
_ALWAYS = {"x-cache-bypass": "1", "accept-encoding": "identity"}


_NO_FRIGATE_BEHIND = frozenset({500, 502, 503, 504})
"""What nginx says while it is up and Frigate is not: at each start for seconds, with migrations for minutes."""
_PLAIN_PICTURE = urlencode({"bbox": 0, "timestamp": 0, "crop": 0})
"""What is left out, 0.18 takes from the camera's configuration; earlier versions draw nothing."""


class ApiError(FrigateError):
    """Frigate's API does not answer as it should; the text is a sentence for the user."""


class RowsUntoldError(ApiError):
    """Frigate itself stumbles over a row that it was to tell of."""


class LoginRefusedError(ApiError):
    """Frigate refuses the login; it is not tried again for some minutes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, as far as anybody needs it; names of headers are in small letters."""

    status: int
    content: bytes
    headers: Mapping[str, str]


class FrigateApi:
    """One Frigate; keeps its connections. May be used from several threads."""

    def __init__(self, settings: Settings) -> None:
        import urllib3

        url = urlsplit(settings.frigate_url)
        self.address = f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}"
        is_inner = url.port == INNER_PORT
        self._prefix = "" if is_inner else "/api"
        self._headers = _ALWAYS | (_WHO_ASKS if is_inner else {})
        self._settings = settings
        self._login = threading.Lock()
        self._login_pause = LoginPause()
        if settings.frigate_token is not None:
            self._headers["authorization"] = f"Bearer {settings.frigate_token.get_secret_value()}"
        if not settings.frigate_tls_verify:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self._pool = urllib3.PoolManager(
            maxsize=_MOST_KEPT, retries=False, timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            cert_reqs="CERT_REQUIRED" if settings.frigate_tls_verify else "CERT_NONE",
        )  # fmt: skip

    def picture(self, event_id: str) -> bytes | None:
        """The best picture of an event so far, a JPEG; None when Frigate has none (it has just ended, say).

        Raises ApiError.
        """
        answer = self._get(f"{self._prefix}/events/{quote(event_id, safe='')}/snapshot.jpg?{_PLAIN_PICTURE}")
        if answer.status == 404:
            return None
        if answer.status != 200 or not answer.content:
            raise self.odd_status(answer.status)
        return answer.content

    def version(self) -> tuple[int, int]:
        """For example (0, 17). Raises ApiError."""
        answer = self._get(f"{self._prefix}/version")
        numbers = answer.content.decode(errors="replace").strip().split("-")[0].split(".")
        if answer.status not in {200, 404}:
            raise self.odd_status(answer.status)
        try:
            return int(numbers[0]), int(numbers[1])
        except (ValueError, IndexError) as error:
            raise self.no_frigate() from error

    def rows(self, path: str, **query: object) -> list[dict[str, Any]] | None:
        """A list of rows; None for a path that this Frigate does not know. Raises ApiError."""
        found = self._json(f"{path}?{urlencode(query)}")
        if found is not None and not (isinstance(found, list) and all(isinstance(row, dict) for row in found)):
            raise ApiError(f"Frigate's API at {self.address} sent no rows for {path}; check FRIGATE_URL.")
        return found

    def row(self, path: str) -> dict[str, Any] | None:
        """One row, None when there is none. Raises ApiError."""
        found = self._json(path)
        if found is not None and not isinstance(found, dict):
            raise ApiError(f"Frigate's API at {self.address} sent no row for {path}; check FRIGATE_URL.")
        return found

    def head(self, path: str) -> Answer:
        """What is said of a file that nginx hands out; `path` is quoted. Raises ApiError."""
        return self._get(path, "HEAD")

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[BaseHTTPResponse]:
        """A file that nginx hands out, to be read piece by piece. Raises ApiError when there is no answer."""
        answer = self._ask("GET", path)
        try:
            if self._may_sign_in(answer.status):
                answer.drain_conn()
                answer.release_conn()
                answer = self._ask("GET", path)
            yield answer
        finally:
            if answer.length_remaining:
                answer.close()  # what is left of it would be read as the next answer
            answer.release_conn()

    def refusal(self, status: int) -> ApiError:
        """What to say to 401 and 403."""
        if self._settings.frigate_token is not None:
            return ApiError(f"Frigate's API at {self.address} refuses FRIGATE_TOKEN (status {status}); make a new one.")
        return ApiError(
            f"Frigate's API at {self.address} refuses us (status {status}); use port 5000, or set FRIGATE_USER and "
            "FRIGATE_PASSWORD, or FRIGATE_TOKEN."
        )

    def no_frigate(self) -> ApiError:
        """What to say of another program's answers."""
        return ApiError(f"What answers at {self.address} is no Frigate; check FRIGATE_URL.")

    def listing(self, path: str) -> bytes | None:
        """The page on which nginx lists a folder, None when it does not. Raises ApiError when there is no answer."""
        answer = self._get(path)
        return answer.content if answer.status == 200 else None

    def odd_status(self, status: int) -> ApiError:
        """What to say to a status that no request of ours should get."""
        if status in _NO_FRIGATE_BEHIND:
            return ApiError(f"Frigate at {self.address} is starting or stopped (status {status}).")
        return ApiError(f"Frigate's API at {self.address} answers with status {status}; check FRIGATE_URL.")

    def _json(self, path: str) -> Any:
        answer = self._get(f"{self._prefix}/{path}")
        if answer.status == 404:
            return None
        if answer.status == 500 and b"nginx" not in answer.content:  # its own, not that of the nginx in front of it
            raise RowsUntoldError(
                f"Frigate at {self.address} cannot tell of its own events (status 500): is its database well?"
            )
        if answer.status != 200:
            raise self.odd_status(answer.status)
        try:
            return parse_json(answer.content, longest=_LARGEST_ANSWER, keep_constants=True)
        except RefusedValueError as error:
            raise self.no_frigate() from error

    def _get(self, path: str, method: str = "GET") -> Answer:
        answer = self._request(method, path)
        if self._may_sign_in(answer.status):
            answer = self._request(method, path)
        if answer.status in {401, 403}:
            raise self.refusal(answer.status)
        return answer

    def _may_sign_in(self, status: int) -> bool:
        """Whether a refused request is worth a second try, because a login was due. Raises ApiError.

        403 is the answer to somebody who is known and may not; another login would change nothing.
        """
        is_due = status == 401 or (status == 403 and "cookie" not in self._headers)
        if not is_due or self._settings.frigate_user is None:
            return False
        with self._login:
            if not self._login_pause.is_over(time.monotonic()):
                raise LoginRefusedError(self._login_pause.sentence)
            self._sign_in()
        return True

    def _sign_in(self) -> None:
        """Frigate's login answers with a cookie that holds a token; the same works as a bearer."""
        password = self._settings.frigate_password
        body = json.dumps(
            {"user": self._settings.frigate_user, "password": password.get_secret_value() if password else ""}
        )
        answer = self._request("POST", f"{self._prefix}/login", body.encode())
        if answer.status in _NO_FRIGATE_BEHIND:
            raise self.odd_status(answer.status)
        if answer.status != 200:
            raise self._no_login(answer)
        self._login_pause.accepted()
        self._headers["cookie"] = answer.headers.get("set-cookie", "").split(";", 1)[0]

    def _no_login(self, answer: Answer) -> LoginRefusedError:
        """Each refusal counts against the owner of this address, too: the next try waits."""
        wanted = parse_retry_after(answer.headers.get("retry-after"))
        sentence = (
            f"Frigate at {self.address} refuses the login (status {answer.status}); check FRIGATE_USER and "
            "FRIGATE_PASSWORD. The next login is some minutes away, or at the next start."
        )
        if answer.status == 429:
            sentence = (
                f"Frigate at {self.address} takes no login from this address for now (status 429): too many failed. "
                "The next one is some minutes away; check FRIGATE_USER and FRIGATE_PASSWORD if it stays so."
            )
        self._login_pause.refused(time.monotonic(), sentence, wanted)
        return LoginRefusedError(sentence)

    def _request(self, method: str, path: str, body: bytes | None = None) -> Answer:
        from urllib3.exceptions import HTTPError

        answer = self._ask(method, path, body)
        try:
            content = answer.read(_LARGEST_ANSWER + 1)
        except (HTTPError, OSError) as error:
            raise self._silence(error) from error
        finally:
            answer.release_conn()
        if len(content) > _LARGEST_ANSWER:
            answer.close()
            raise ApiError(f"Frigate's API at {self.address} sent more than {_LARGEST_ANSWER:,} bytes.")
        return Answer(answer.status, content, {name.lower(): value for name, value in answer.headers.items()})

    def _ask(self, method: str, path: str, body: bytes | None = None) -> BaseHTTPResponse:
        """An answer whose body is still to be read; asks again when a kept connection turns out to be closed."""
        from urllib3.exceptions import HTTPError, ProtocolError

        headers = self._headers | ({"content-type": "application/json"} if body else {})
        for is_last in (False, True):
            try:
                return self._pool.request(
                    method, f"{self.address}{path}", body=body, headers=headers, preload_content=False
                )
            except ProtocolError as error:
                if is_last:
                    raise self._silence(error) from error
            except (HTTPError, OSError) as error:
                raise self._silence(error) from error
        raise AssertionError

    def _silence(self, error: Exception) -> ApiError:
        return ApiError(f"Frigate's API at {self.address} does not answer ({_in_words(error)}); check FRIGATE_URL.")


def _in_words(error: Exception) -> str:
    from urllib3.exceptions import ProtocolError, SSLError, TimeoutError

    reason = getattr(error, "reason", error)
    said = getattr(reason.__cause__ or reason, "strerror", None)
    if isinstance(reason, SSLError) and "WRONG_VERSION_NUMBER" in str(reason):
        said = "it speaks no TLS; write http:// instead of https://"
    elif isinstance(reason, SSLError):
        said = f"no trusted connection: {reason}; FRIGATE_TLS_VERIFY=false trusts any certificate"
    elif said is None and isinstance(reason, TimeoutError):
        said = "it takes too long"
    elif said is None and isinstance(reason, ProtocolError):
        said = "the connection broke"
    return str(said or type(reason).__name__)
