"""Who may look and who may press a button: decided from what a request brings, without any I/O.

A session is a random number that the server signed with the token, so nothing is kept; changing the token ends all of
them. A form carries a second signature over the same number, which no other site can know.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

SESSION_COOKIE = "frigate_s3_mirror_session"
_FREE_FAILURES = 10
_FAILURES_SECONDS = 60.0
_PACE_SECONDS = 1.0
_LONGEST_WAIT = 3.0
_MOST_ADDRESSES = 1000
_LONGEST_TARGET = 2000  # characters


@dataclass(slots=True)
class _Attempts:
    """What one address has tried; times are monotonic seconds."""

    failed_at: list[float] = field(default_factory=list)
    next_at: float = 0.0


@dataclass(slots=True)
class Throttle:
    """Slows the guessing of a token down without locking its owner out.

    An address may fail a few times a minute at once; after that its attempts are looked at one by one, a second apart,
    and those for which no place is left in that short queue not at all. Other addresses, and sessions, are not concerned.
    """

    _by_address: dict[str, _Attempts] = field(default_factory=dict)

    def wait_seconds(self, address: str, now: float) -> float | None:
        """Return how long this attempt must wait before it is looked at, None when there are too many. `now`: monotonic."""
        attempts = self._by_address.get(address)
        if attempts is None:
            return 0.0
        attempts.failed_at = [at for at in attempts.failed_at if at > now - _FAILURES_SECONDS]
        if len(attempts.failed_at) < _FREE_FAILURES:
            return 0.0
        begin = max(now, attempts.next_at)
        if begin - now > _LONGEST_WAIT:
            return None
        attempts.next_at = begin + _PACE_SECONDS
        return begin - now

    def failed(self, address: str, now: float) -> None:
        """Note a wrong token. `now`: monotonic seconds."""
        if address not in self._by_address and len(self._by_address) >= _MOST_ADDRESSES:
            del self._by_address[next(iter(self._by_address))]
        attempts = self._by_address.setdefault(address, _Attempts())
        attempts.failed_at = [*attempts.failed_at[-_FREE_FAILURES:], now]


@dataclass(slots=True)
class Access:
    """The rules for one page. `token` None: everybody on this machine may look."""

    token: str | None
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def new_session(self) -> str:
        """A value for the session cookie."""
        number = secrets.token_urlsafe(18)
        return f"{number}.{self._sign('session', number)}"

    def is_session(self, cookie: str | None) -> bool:
        """Whether this server made the cookie, under the token of now."""
        number, _, signature = (cookie or "").partition(".")
        return bool(number) and _same(signature, self._sign("session", number))

    def may_look(self, headers: Mapping[str, str], cookie: str | None) -> bool:
        """Whether the request brings the token, as a bearer or by a session; without a token everyone may."""
        given = bearer(headers)
        return self.token is None or self.is_session(cookie) or (given is not None and self.is_token(given))

    def is_token(self, given: str) -> bool:
        """Whether this is the token; ask a Throttle first."""
        return self.token is not None and _same(given, self.token)

    def ticket(self, path: str, until: int) -> str:
        """A query that opens this one address for a program that cannot sign in; `until` in unix seconds."""
        return "" if self.token is None else f"?until={until}&ticket={self._sign('ticket', f'{until} {path}')}"

    def has_ticket(self, path: str, query: Mapping[str, str], now: float) -> bool:
        """Whether the query is a ticket of ours for this address that is still good at `now` (unix seconds)."""
        until = query.get("until", "")
        if not (until.isdecimal() and until.isascii() and len(until) < 12 and int(until) > now):
            return False
        return _same(query.get("ticket", ""), self._sign("ticket", f"{until} {path}"))

    def form_token(self, cookie: str) -> str:
        """What a form must carry, for the session that it is shown to."""
        return self._sign("form", cookie)

    def may_act(self, headers: Mapping[str, str], cookie: str | None, form_token: str) -> bool:
        """Whether a POST was made by a form of ours: right session, right signature, not from another site."""
        if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return False
        return self.is_session(cookie) and _same(form_token, self.form_token(cookie or ""))

    def knows_host(self, host: str, own: str) -> bool:
        """Whether the name by which the page was asked for is this machine's own.

        Without a token anything else is refused: a foreign name that points here is how a web site gets at a page on
        loopback (DNS rebinding).
        """
        if self.token is not None:
            return True
        name = host.rsplit(":", 1)[0].strip("[]") if not host.endswith("]") else host.strip("[]")
        if name.lower() in {"localhost", own.lower()}:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def _sign(self, purpose: str, text: str) -> str:
        key = self._secret if self.token is None else self._secret + self.token.encode()
        return hmac.new(key, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


def bearer(headers: Mapping[str, str]) -> str | None:
    """The token that a request brings as a bearer, None when it brings none."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def local_target(target: str) -> str:
    """The address on this page to go to after signing in: one of our own paths, else the overview."""
    is_ours = target.startswith("/") and not target.startswith(("//", "/sign-", "/live")) and "\\" not in target
    return target if is_ours and target.isprintable() and len(target) < _LONGEST_TARGET else "/"


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
