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
_FAILURES_BEFORE_PAUSE = 10
_PAUSE_SECONDS = 60.0


@dataclass(slots=True)
class Access:
    """The rules for one page. `token` None: everybody on this machine may look."""

    token: str | None
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _failures: list[float] = field(default_factory=list)

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
        if self.token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return (scheme.lower() == "bearer" and _same(given.strip(), self.token)) or self.is_session(cookie)

    def ticket(self, path: str, until: int) -> str:
        """A query that opens this one address for a program that cannot sign in; `until` in unix seconds."""
        return "" if self.token is None else f"?until={until}&ticket={self._sign('ticket', f'{until} {path}')}"

    def has_ticket(self, path: str, query: Mapping[str, str], now: float) -> bool:
        """Whether the query is a ticket of ours for this address that is still good at `now` (unix seconds)."""
        until = query.get("until", "")
        if not (until.isdecimal() and until.isascii() and len(until) < 12 and int(until) > now):
            return False
        return _same(query.get("ticket", ""), self._sign("ticket", f"{until} {path}"))

    def signs_in(self, given: str, now: float) -> bool | None:
        """Whether this is the token; None while there were too many wrong ones. `now`: monotonic seconds."""
        self._failures = [at for at in self._failures if at > now - _PAUSE_SECONDS]
        if len(self._failures) >= _FAILURES_BEFORE_PAUSE:
            return None
        if self.token is not None and _same(given, self.token):
            return True
        self._failures.append(now)
        return False

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


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
