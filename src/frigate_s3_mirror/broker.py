"""One connection with the MQTT broker of S3_MQTT_URL: paho's own thread keeps it, and this tells how it goes."""

from __future__ import annotations

import secrets
import ssl
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from frigate_s3_mirror.broker_errors import LOST, NO_GREETING, News, no_connection, refusal
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.settings import Settings

_LONGEST_BACKOFF = 60
_MOST_QUEUED = 20
_KEEPALIVE = 30


class BrokerError(Exception):
    """The settings make no client; the text is a sentence for the user."""


class BrokerLink:
    """Connects, and connects again; `on_connect` and `on_message` are called in paho's thread and must not wait."""

    def __init__(
        self, settings: Settings, clock: Clock, name: str,
        on_connect: Callable[[Client], object], on_message: Callable[[Client, MQTTMessage], None], *, purpose: str,
    ) -> None:  # fmt: skip
        """`purpose` is what the log says of it: there may be several connections."""
        self._settings, self._clock = settings, clock
        self._on_connect, self._on_message = on_connect, on_message
        self._purpose = purpose
        self.mishaps = 0
        """Messages that could not be dealt with."""
        self.on_lost: Callable[[], object] = lambda: None
        """Called when the connection is gone; as the others."""
        self._told = News()
        self.is_connected = self._is_refused = self.is_ending = False
        url = urlsplit(settings.mqtt_url or "")
        self._is_tls = url.scheme == "mqtts"
        self.host, self.port = url.hostname or "", url.port or (8883 if self._is_tls else 1883)
        # The id is new each time: two mirrors of one name must not throw each other out.
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=f"{name}_{secrets.token_hex(4)}")

    def start(self) -> None:
        """Begin to connect, and return at once. Raises BrokerError."""
        client = self.client
        try:
            self.host.encode("idna")  # what paho's thread would die of
        except UnicodeError as error:
            raise BrokerError("S3_MQTT_URL holds no usable host name") from error
        client.reconnect_delay_set(1, _LONGEST_BACKOFF)
        client.max_queued_messages_set(_MOST_QUEUED)
        if self._settings.mqtt_user is not None:
            password = self._settings.mqtt_password
            client.username_pw_set(self._settings.mqtt_user, password.get_secret_value() if password else None)
        if self._is_tls:
            bundle = self._settings.mqtt_ca_bundle
            try:
                client.tls_set_context(ssl.create_default_context(cafile=str(bundle) if bundle else None))
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                raise BrokerError(f"S3_MQTT_CA_BUNDLE holds no usable certificate ({type(error).__name__})") from error
        client.on_connect, client.on_connect_fail = self._answered, self._unreachable
        client.on_disconnect = self._disconnected
        client.on_message = lambda client, _data, message: self._guarded(self._on_message, client, message)
        client.connect_async(self.host, self.port, _KEEPALIVE)
        client.loop_start()

    def stop(self) -> None:
        """Disconnect; ends paho's thread, too, but nobody waits for one that hangs in a name server."""
        self.is_ending = True
        self.client.disconnect()

    def _guarded(self, call: Callable[..., object], *arguments: object) -> None:
        """An exception would end paho's thread, and with it every later message: it is told, and the next one is heard."""
        try:
            call(*arguments)
        except Exception:  # noqa: BLE001  # outermost frame of ours in paho's thread: counted and told
            self.mishaps += 1
            if self.mishaps == 1:
                logger().exception("S3 snapshot mirror: an MQTT message could not be dealt with and is left out")

    # -- in paho's thread: nothing here may raise or wait ------------------------------------------------------------

    def _answered(self, client: Client, _data: object, _flags: object, reason: ReasonCode, _more: object) -> None:
        if reason.is_failure:
            self._is_refused = True
            self._say(refusal(str(reason), has_user=self._settings.mqtt_user is not None))
            return
        self.is_connected = True
        if self._told.is_good_news():
            logger().info(
                "S3 snapshot mirror: connected to the MQTT broker %s:%d for %s", self.host, self.port, self._purpose
            )
        self._guarded(self._on_connect, client)

    def _unreachable(self, _client: Client, _data: object) -> None:
        self._say(no_connection(sys.exception()))  # paho calls this from where it caught it

    def _disconnected(self, _client: Client, _data: object, _flags: object, reason: ReasonCode, _more: object) -> None:
        """Also comes after a refusal, of which `_answered` has told, and before any answer."""
        was_connected, self.is_connected = self.is_connected, False
        self._guarded(self.on_lost)
        was_refused, self._is_refused = self._is_refused, False
        if not (self.is_ending or was_refused):
            self._say(LOST if was_connected else NO_GREETING)

    def _say(self, sentence: str) -> None:
        if self._told.is_bad_news(sentence, self._clock.monotonic()):
            logger().warning(
                "S3 snapshot mirror: no connection with the MQTT broker %s:%d: %s. Uploads go on, and it keeps trying.",
                self.host, self.port, sentence,
            )  # fmt: skip
