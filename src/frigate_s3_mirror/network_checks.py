"""The checks of `doctor` on the way to S3: name, connection, certificate, clock. Unsigned; knows nothing of obstore.

The probe is one HEAD request of the standard library: any answer will do, also a refusal.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urlsplit

from frigate_s3_mirror.finding import Finding, Verdict, failed, ok, skipped, warning
from frigate_s3_mirror.runtime.untrusted import shown
from frigate_s3_mirror.setting_rules import without_password
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.units import format_duration

WORST_SKEW = 300.0
"""Seconds of clock difference from which S3 servers begin to refuse signed requests (AWS: 900)."""
ODD_SKEW = 60.0
"""Seconds from which a clock is not kept by NTP."""
SHORT_VALIDITY = 14 * 86400.0
"""Seconds of validity below which a certificate is worth a warning."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TIMEOUT = 5.0  # seconds, as the mirror's own connections have
# An X.509 extension basicConstraints (2.5.29.19) whose first element is CA = TRUE.
_IS_AUTHORITY = re.compile(rb"\x06\x03\x55\x1d\x13(?:\x01\x01\xff)?\x04.\x30.\x01\x01\xff", re.DOTALL)


class Stage(StrEnum):
    """The steps on the way to S3; each is the name of a check and needs the ones before it."""

    DNS = "DNS"
    CONNECTION = "connection"
    TLS = "TLS"
    ANSWER = "answer"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the mirror's requests go."""

    is_tls: bool
    host: str
    port: int
    path: str
    """Path of the bucket, for the unsigned probe."""
    proxy: str | None = None
    """Host and port of the proxy that the environment sets for it."""
    is_virtual: bool = False
    """Whether the host name begins with the bucket."""

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, by its name or address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a probe came and what it learned on the way; `failed_at` is None when S3 answered."""

    addresses: tuple[str, ...] = ()
    failed_at: Stage | None = None
    error: Exception | None = None
    expires_at: float | None = None
    """When the certificate expires, unix seconds."""
    is_own_authority: bool = False
    """Whether the server's certificate is one of an authority, which the mirror's TLS refuses as a server's."""
    server_time: float | None = None
    """Unix seconds, from the `Date` header, which has whole seconds."""
    local_time: float | None = None
    """Unix seconds, midway between request and answer."""
    status: int | None = None
    """Of the answer; without a signature a refusal is as good as any."""
    bucket_region: str | None = None
    location: str | None = None
    """Where the answer sends one, without a query."""
    is_of_s3: bool = False
    """Whether the answer bears a header that only S3 servers send."""

    @property
    def is_sent_elsewhere(self) -> bool:
        """Whether something that is not S3 redirects: a login page, a proxy that wants https."""
        return self.status in _REDIRECTS and not self.is_of_s3


def endpoint_of(settings: Settings) -> Endpoint:
    """The host, port and path that the mirror's requests for this bucket have."""
    url = urlsplit(settings.endpoint_url or f"https://s3.{settings.region}.amazonaws.com")
    host = url.hostname or ""
    if settings.virtual_host and not host.startswith(f"{settings.bucket}."):
        host = f"{settings.bucket}.{host}"
    base = url.path.rstrip("/")
    path = f"{base}/" if settings.virtual_host else f"{base}/{quote(settings.bucket)}"
    is_tls = url.scheme == "https"
    return Endpoint(
        is_tls, host, url.port or (443 if is_tls else 80), path, _proxy(url.scheme, host), settings.virtual_host
    )


def _proxy(scheme: str, host: str) -> str | None:
    """The proxy of this environment, without its password. The mirror's S3 client honours the same variables."""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(host):
        return None
    return re.sub(r"^[^/]*//", "", proxy).rsplit("@", 1)[-1].rstrip("/")


# -- the probe ---------------------------------------------------------------------------------------------------------


def reach(endpoint: Endpoint, ca_bundle: Path | None) -> Reach:
    """Look the name up, connect, greet, and ask for the bucket without a signature. Takes 5 s a step at most."""
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return Reach(failed_at=Stage.DNS, error=error)
    addresses = tuple(dict.fromkeys(str(address[4][0]) for address in found))
    try:
        plain = socket.create_connection((endpoint.host, endpoint.port), timeout=_TIMEOUT)
    except OSError as error:
        return Reach(addresses, Stage.CONNECTION, error)
    with plain:
        if not endpoint.is_tls:
            return _ask(endpoint, plain, Reach(addresses))
        try:
            secured = tls_context(ca_bundle).wrap_socket(plain, server_hostname=endpoint.host)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            return Reach(addresses, Stage.TLS, error)
        with secured:
            expires = str((secured.getpeercert() or {}).get("notAfter", ""))
            is_authority = _IS_AUTHORITY.search(secured.getpeercert(binary_form=True) or b"") is not None
            seen = Reach(
                addresses,
                expires_at=float(ssl.cert_time_to_seconds(expires)) if expires else None,
                is_own_authority=is_authority,
            )
            return _ask(endpoint, secured, seen)


def tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """The system's authorities and those of the bundle; names must be in the alternative names, as the mirror's TLS
    library wants it. Raises OSError when the bundle cannot be read."""
    context = ssl.create_default_context()
    context.hostname_checks_common_name = False
    if ca_bundle is not None:
        context.load_verify_locations(cafile=ca_bundle)
    return context


def _ask(endpoint: Endpoint, connected: socket.socket, seen: Reach) -> Reach:
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=_TIMEOUT)
    connection.sock = connected
    started = time.time()
    try:
        connection.request("HEAD", endpoint.path, headers={"User-Agent": "frigate-s3-mirror", "Connection": "close"})
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        return Reach(seen.addresses, Stage.ANSWER, error, seen.expires_at, seen.is_own_authority)
    return Reach(
        seen.addresses, None, None, seen.expires_at, seen.is_own_authority, http_date(answer.getheader("Date")),
        (started + time.time()) / 2, answer.status, answer.getheader("x-amz-bucket-region"), _place(answer.getheader("Location")),
        any(name.lower().startswith("x-amz-") for name in answer.headers),
    )  # fmt: skip


def _place(location: str | None) -> str | None:
    """A redirect's target as it may be shown: logins put sessions into the query."""
    return without_password(location).split("?")[0].split("#")[0] if location else None


def http_date(text: str | None) -> float | None:
    """Unix seconds of a `Date` header, or None when there is none that can be read."""
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return parsedate_to_datetime(text).timestamp() if text else None
    return None


# -- what it means -----------------------------------------------------------------------------------------------------


def judge_way(endpoint: Endpoint, seen: Reach, now: float, *, has_bundle: bool) -> list[Finding]:
    """One finding for each of DNS, connection, TLS and clock."""
    if endpoint.proxy is not None:
        why = f"Requests go through the proxy {endpoint.proxy}, as this environment says."
        return [skipped(stage, why) for stage in Stage]
    judges: dict[Stage, Callable[[], Finding]] = {
        Stage.DNS: lambda: judge_dns(endpoint, seen),
        Stage.CONNECTION: lambda: judge_connection(endpoint, seen),
        Stage.TLS: lambda: judge_tls(endpoint, seen, now, has_bundle=has_bundle),
        Stage.ANSWER: lambda: judge_answer(endpoint, seen),
        Stage.CLOCK: lambda: judge_clock(seen),
    }
    findings: list[Finding] = []
    broken: Stage | None = None
    for stage, judge in judges.items():
        findings.append(judge() if broken is None else skipped(stage, f"Needs {broken}."))
        if broken is None and findings[-1].verdict is Verdict.FAILED:
            broken = stage
    return findings


def is_reachable(seen: Reach) -> bool:
    """Whether signed requests have a chance: S3 answered, and with a certificate that the mirror takes."""
    return seen.failed_at is None and not seen.is_own_authority and not seen.is_sent_elsewhere


def judge_dns(endpoint: Endpoint, seen: Reach) -> Finding:
    """Whether the host name is known."""
    if seen.failed_at is Stage.DNS:
        said = getattr(seen.error, "strerror", None) or str(seen.error)
        fix = "Check S3_ENDPOINT_URL and S3_REGION, and the name servers of this machine or container."
        if endpoint.is_virtual:
            fix = "If the server does not know buckets as host names, set S3_ADDRESSING_STYLE=path. Else: " + fix
        return failed(Stage.DNS, f"The host name {endpoint.host} is not found ({said}).", fix)
    if endpoint.host in seen.addresses:
        return ok(Stage.DNS, f"{endpoint.host} is an address; nothing to look up.")
    shown = ", ".join(seen.addresses[:2]) + (" and more" if len(seen.addresses) > 2 else "")
    return ok(Stage.DNS, f"{endpoint.host} is {shown}.")


def judge_connection(endpoint: Endpoint, seen: Reach) -> Finding:
    """Whether something accepts connections there."""
    if seen.failed_at is Stage.CONNECTION:
        if isinstance(seen.error, ConnectionRefusedError):
            told, fix = "refuses connections", "Start the S3 server, or correct host and port in S3_ENDPOINT_URL."
            if endpoint.is_loopback:
                fix += " In a container, 127.0.0.1 is the container itself."
        elif isinstance(seen.error, TimeoutError):
            told, fix = f"did not answer in {_TIMEOUT:.0f} s", "Check firewalls, the route, and S3_ENDPOINT_URL."
        else:
            told = f"cannot be reached ({getattr(seen.error, 'strerror', None) or seen.error})"
            fix = "Check the network of this machine or container, and S3_ENDPOINT_URL."
        return failed(Stage.CONNECTION, f"{endpoint.host} port {endpoint.port} {told}.", fix)
    return ok(Stage.CONNECTION, f"Port {endpoint.port} of {endpoint.host} accepts connections.")


def judge_tls(endpoint: Endpoint, seen: Reach, now: float, *, has_bundle: bool) -> Finding:
    """Whether the server's certificate is trusted, and for how long still."""
    if not endpoint.is_tls:
        return _judge_plain(endpoint)
    if seen.failed_at is Stage.TLS:
        return failed(Stage.TLS, tls_problem(seen.error), tls_fix(seen.error, endpoint, has_bundle=has_bundle))
    if seen.is_own_authority:
        return failed(
            Stage.TLS,
            "The server shows the certificate of an authority (CA:TRUE) as its own, which the mirror refuses.",
            "Make a certificate for the server without CA:TRUE, signed by itself or by that authority; S3_CA_BUNDLE "
            "names the PEM file of the signer.",
        )
    left = (seen.expires_at or now) - now
    until = f"{datetime.fromtimestamp(seen.expires_at or now, UTC):%Y-%m-%d}"
    told = f"The certificate is trusted; it expires on {until}, in {format_duration(max(left, 0.0))}."
    if left < SHORT_VALIDITY:
        return warning(Stage.TLS, told, "Renew the server's certificate, or see why it is not renewed by itself.")
    return ok(Stage.TLS, told)


def _judge_plain(endpoint: Endpoint) -> Finding:
    if endpoint.is_loopback:
        return skipped(Stage.TLS, "Not used: S3_ENDPOINT_URL begins with http:// and stays on this machine.")
    return warning(
        Stage.TLS,
        "Not used: S3_ENDPOINT_URL begins with http://, so that everyone on the way can see the pictures.",
        "Write https:// if the server speaks it; in a network of your own it may stay so.",
    )


def tls_problem(error: Exception | None) -> str:
    """What went wrong in the greeting, as a sentence."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The server's certificate is not trusted ({error.verify_message.rstrip('.')})."
    if isinstance(error, ssl.SSLError):
        return f"The TLS greeting failed ({(error.reason or str(error)).replace('_', ' ').lower()})."
    return f"The TLS greeting failed ({getattr(error, 'strerror', None) or error})."


# OpenSSL's numbers of verification errors, x509_vfy.h.
_EXPIRED, _NOT_YET, _WRONG_NAMES = 10, 9, frozenset({62, 64})
_PLAIN_HTTP = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})


def tls_fix(error: Exception | None, endpoint: Endpoint, *, has_bundle: bool) -> str:
    """What to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_fix(error.verify_code, endpoint, has_bundle=has_bundle)
    if getattr(error, "reason", "") in _PLAIN_HTTP:
        return "The server speaks plain HTTP on this port: write http://, or use the port of its HTTPS."
    return "Check the port in S3_ENDPOINT_URL, and that the server speaks TLS 1.2 or newer."


def _certificate_fix(verify_code: int, endpoint: Endpoint, *, has_bundle: bool) -> str:
    if verify_code == _EXPIRED:
        return "Renew the server's certificate; check this machine's clock, too."
    if verify_code == _NOT_YET:
        return "Set this machine's clock right (NTP)."
    if verify_code in _WRONG_NAMES:
        more = " With dots in the bucket's name set S3_ADDRESSING_STYLE=path." if endpoint.is_virtual else ""
        return f"Write in S3_ENDPOINT_URL a name that is among the certificate's alternative names.{more}"
    if has_bundle:
        return "S3_CA_BUNDLE names the wrong authority: it must hold the one that signed this server's certificate."
    return "For a private authority set S3_CA_BUNDLE to its PEM file; else install ca-certificates on this machine."


def judge_answer(endpoint: Endpoint, seen: Reach) -> Finding:
    """Whether what listens there speaks HTTP."""
    if seen.failed_at is Stage.ANSWER:
        said = (str(seen.error) or type(seen.error).__name__).strip().rstrip(".")
        fix = "Check host and port in S3_ENDPOINT_URL"
        fix += "." if endpoint.is_tls else ", and whether it must begin with https://."
        return failed(Stage.ANSWER, f"What listens there gives no answer in HTTP ({said}).", fix)
    if seen.is_sent_elsewhere:
        return _judge_redirect(endpoint, seen)
    return ok(Stage.ANSWER, f"An unsigned request is answered (status {seen.status}; a refusal is fine).")


def _judge_redirect(endpoint: Endpoint, seen: Reach) -> Finding:
    """Redirects are not followed: what is sent to a login page would count as uploaded."""
    to = f" to {shown(seen.location)}" if seen.location else ""
    target = urlsplit(seen.location or "")
    if target.scheme == "https" and target.hostname == endpoint.host and not endpoint.is_tls:
        fix = "Write https:// in S3_ENDPOINT_URL."
    else:
        fix = "Set S3_ENDPOINT_URL to the S3 server itself, and let the proxy before it pass signed requests on without a login."
    told = f"What answers there is no S3 server: it sends requests on{to} (status {seen.status})."
    return failed(Stage.ANSWER, told, fix)


def judge_clock(seen: Reach) -> Finding:
    """Whether this machine's clock agrees with the server's."""
    if seen.server_time is None or seen.local_time is None:
        return skipped(Stage.CLOCK, "The server's answer bears no date to compare with.")
    ahead = seen.local_time - seen.server_time
    skew = max(0.0, abs(ahead) - 1.0)  # the header has whole seconds
    told = (
        f"This machine's clock is {format_duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the server's."
    )
    if skew > WORST_SKEW:
        fix = "Set the clock right (NTP), here or on the server: S3 refuses signatures of another time."
        return failed(Stage.CLOCK, told, fix)
    if skew > ODD_SKEW:
        return warning(Stage.CLOCK, told, "Let NTP keep the clock; S3 refuses requests when the difference grows.")
    return ok(Stage.CLOCK, "This machine's clock agrees with the server's." if skew <= 1.0 else told)
