"""The checks of `doctor` on what tells of trouble: notifications, the MQTT broker, the watchdog and the status page.

Nothing is sent unless that is asked for: a call of the watchdog says that all is well, and people do not like false alarms.
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from frigate_s3_mirror import watchdog
from frigate_s3_mirror.announcer import Message
from frigate_s3_mirror.broker_errors import NO_GREETING, no_connection, refusal
from frigate_s3_mirror.finding import Finding, failed, ok, skipped, warning
from frigate_s3_mirror.health import Health
from frigate_s3_mirror.home_assistant import topics_for
from frigate_s3_mirror.notify import deliver, targets
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.status import is_running

if TYPE_CHECKING:
    from paho.mqtt.client import Client

NAMES = ("notifications", "MQTT", "watchdog", "status page")
"""The checks of this module, in their order; each only where its setting is set."""
_TIMEOUT = 5.0
_SEND = "`doctor --send-test`"


def check_alerts(settings: Settings, *, send: bool) -> Iterator[Finding]:
    """One finding for each of NAMES that the settings ask for. With `send`, real messages go out."""
    if settings.notify_url is not None:
        yield check_notifications(settings.site, settings.notify_url.get_secret_value().split(), send=send)
    if settings.mqtt_url is not None:
        yield check_broker(settings, send=send)
    if settings.heartbeat_url is not None:
        yield check_watchdog(settings.heartbeat_url.get_secret_value(), send=send)
    yield check_status_page(settings)


# -- notifications -----------------------------------------------------------------------------------------------------


def check_notifications(site: str, urls: list[str], *, send: bool) -> Finding:
    """Whether Apprise understands each address, and with `send` whether each takes a message. No address is shown."""
    name = "notifications"
    found = targets(urls)
    if strange := [number for number, target in found.items() if target is None]:
        return failed(
            name,
            f"Apprise does not understand address {_listed(strange)} of S3_NOTIFY_URL.",
            "Correct it; https://github.com/caronc/apprise/wiki has the form of each service. Blanks separate addresses.",
        )
    how_many = f"{len(found)} address{'es' if len(found) != 1 else ''}"
    if not send:
        return ok(name, f"Apprise understands {how_many}; {_SEND} sends a message to try them.")
    message = Message(
        f"Frigate S3 mirror {site}", "This is a test of `doctor --send-test`: all is as it was.", is_good=True
    )
    deaf = [number for number, target in found.items() if target is None or not deliver(target, message)]
    if deaf:
        return failed(
            name,
            f"Address {_listed(deaf)} of S3_NOTIFY_URL did not take the test message.",
            "Check host and token in that address, and that this machine reaches the service.",
        )
    return ok(name, f"The test message was taken by {how_many}.")


def _listed(numbers: list[int]) -> str:
    return " and ".join(map(str, numbers))


# -- MQTT --------------------------------------------------------------------------------------------------------------


def check_broker(settings: Settings, *, send: bool) -> Finding:
    """Whether the broker lets us in, and with `send` whether a message goes through it and back."""
    trial = _BrokerTrial(settings)
    problem = trial.connect()
    try:
        if problem is not None:
            return failed("MQTT", f"{trial.place}: {_halves(problem)[0]}.", f"{_halves(problem)[1]}.")
        if not send:
            return ok("MQTT", f"The broker {trial.place} lets the mirror in; {_SEND} sends a message through it.")
        topic = f"{topics_for(settings).state.rpartition('/')[0]}/doctor"
        if trial.has_echo(topic):
            return ok("MQTT", f"The broker {trial.place} took a message for {topic} and gave it back.")
        return warning(
            "MQTT",
            f"The broker {trial.place} lets the mirror in, but a message for {topic} did not come back.",
            f"Let the user read and write {topic.rpartition('/')[0]}/# in the broker's access list.",
        )
    finally:
        trial.end()


def _halves(problem: str) -> tuple[str, str]:
    """What is wrong, and what to do."""
    what, mark, fix = problem.rpartition("; ")
    if not mark:
        return problem[:1].upper() + problem[1:], "Check S3_MQTT_URL, and the broker's log"
    return what[:1].upper() + what[1:], fix[:1].upper() + fix[1:]


class _BrokerTrial:
    """One connection, for as long as the check takes."""

    def __init__(self, settings: Settings) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        url = urlsplit(settings.mqtt_url or "")
        self._settings, self._is_tls = settings, url.scheme == "mqtts"
        self._host, self._port = url.hostname or "", url.port or (8883 if self._is_tls else 1883)
        self.place = f"{self._host}:{self._port}"
        self._told = threading.Event()
        self._problem: str | None = NO_GREETING
        self._client = Client(CallbackAPIVersion.VERSION2)

    def connect(self) -> str | None:
        """What is wrong, in half a sentence, or None."""
        client, settings = self._client, self._settings
        client.connect_timeout = _TIMEOUT
        client.on_connect = lambda _client, _data, _flags, reason, _more: self._answered(
            refusal(str(reason), has_user=settings.mqtt_user is not None) if reason.is_failure else None
        )
        client.on_disconnect = lambda *_: self._told.set()
        if settings.mqtt_user is not None:
            password = settings.mqtt_password
            client.username_pw_set(settings.mqtt_user, password.get_secret_value() if password else None)
        try:
            self._greet()
            client.connect(self._host, self._port)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError, UnicodeError a ValueError
            return no_connection(error)
        client.loop_start()
        if not self._told.wait(_TIMEOUT):
            return no_connection(TimeoutError())
        return self._problem

    def _greet(self) -> None:
        """Connect once without paho, which leaves a socket behind when the certificate is not trusted. Raises OSError."""
        with socket.create_connection((self._host, self._port), timeout=_TIMEOUT) as plain:
            if self._is_tls:
                bundle = self._settings.mqtt_ca_bundle
                context = ssl.create_default_context(cafile=str(bundle) if bundle else None)
                context.wrap_socket(plain, server_hostname=self._host).close()
                self._client.tls_set_context(context)

    def _answered(self, problem: str | None) -> None:
        self._problem = problem
        self._told.set()

    def has_echo(self, topic: str) -> bool:
        """Whether a message for the topic comes back."""
        came = threading.Event()
        self._client.on_message = lambda *_: came.set()

        def subscribed(client: Client, _data: object, _number: int, _reasons: object, _more: object) -> None:
            client.publish(topic, b"test", qos=1)

        self._client.on_subscribe = subscribed
        self._client.subscribe(topic, 1)
        return came.wait(_TIMEOUT)

    def end(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


# -- the watchdog ------------------------------------------------------------------------------------------------------


def check_watchdog(address: str, *, send: bool) -> Finding:
    """Whether its host can be reached, and with `send` whether it takes a call. Only the host is shown."""
    name, url = "watchdog", urlsplit(address)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    fix = "Check S3_HEARTBEAT_URL, and that this machine or container reaches it."
    if send:
        problem = watchdog.call(address)
        if problem is None:
            return ok(name, f"{host} took a call, as after an upload.")
        return failed(name, f"{host} was called: {problem}.", fix)
    if urllib.request.getproxies().get(url.scheme) and not urllib.request.proxy_bypass(host):
        return skipped(name, f"Calls go through this environment's proxy; {_SEND} makes one.")
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT) as plain:
            if url.scheme == "https":
                ssl.create_default_context().wrap_socket(plain, server_hostname=host).close()
    except (OSError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or type(error).__name__
        return failed(name, f"{host} port {port} cannot be reached ({said}).", fix)
    return ok(name, f"{host} can be reached. It was not called, for a call says that all is well; {_SEND} makes one.")


# -- the status page ---------------------------------------------------------------------------------------------------

_BIND_ERRORS: dict[int, tuple[str, str]] = {
    errno.EACCES: ("may not be used by this user", "Set S3_STATUS_LISTEN to a port from 1024 on."),
    errno.EADDRNOTAVAIL: (
        "is no address of this machine or container",
        "Set S3_STATUS_LISTEN to 127.0.0.1:9380, or to 0.0.0.0:9380 with S3_STATUS_TOKEN.",
    ),
}


def check_status_page(settings: Settings, ask: Callable[[str, int], str | None] | None = None) -> Finding:
    """Whether its address is free, or served by the service of these settings already."""
    name, address = "status page", settings.status_address
    if address is None:
        return skipped(name, "S3_STATUS_LISTEN=off: there is none.")
    shown = settings.status_listen
    try:
        _bind(*address)
    except socket.gaierror as error:
        return failed(
            name, f"The host of S3_STATUS_LISTEN is not found ({error.strerror}).", _BIND_ERRORS[errno.EADDRNOTAVAIL][1]
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _judge_taken(shown, (ask or _health_at)(*address), is_ours=is_running(settings.ledger_dir))
        why, fix = _BIND_ERRORS.get(
            error.errno or 0, (f"cannot be used ({error.strerror})", "Set S3_STATUS_LISTEN to another address.")
        )
        return failed(name, f"{shown} {why}.", fix)
    return ok(name, f"{shown} is free for it; nothing serves it now.")


def _judge_taken(shown: str, health: str | None, *, is_ours: bool) -> Finding:
    if health is not None and is_ours:
        return ok("status page", f"The running service serves it at {shown} and says {health}.")
    other = "another mirror" if health is not None else "another program"
    return failed(
        "status page",
        f"{shown} is taken by {other}.",
        "Set S3_STATUS_LISTEN to a free port, for example 127.0.0.1:9381, or stop the other one.",
    )


def _bind(host: str, port: int) -> None:
    """Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((host, port))
        trial.listen(1)


def _health_at(host: str, port: int) -> str | None:
    """The word of a mirror's /healthz, None when no mirror answers."""
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared with, not listened on
    connection = http.client.HTTPConnection(near, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/healthz")
        word = connection.getresponse().read(200).decode(errors="replace").split(" ", 1)[0].strip()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return word if word in {health.value for health in Health} else None
