"""Tells Home Assistant over MQTT how the mirror does, and takes its one command. What is said is in `home_assistant`.

paho's own thread talks with the broker, connects again by itself, and holds what is to be sent; nothing here ever
waits for the broker but the end, shortly. While the broker is away nothing is queued: with the connection comes
all that it must know.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
import ssl
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from frigate_s3_mirror import home_assistant
from frigate_s3_mirror.broker_errors import LOST, NO_GREETING, News, no_connection, refusal
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.entries import Outcome
from frigate_s3_mirror.health import Condition
from frigate_s3_mirror.ledger import FILE_NAME, Ledger, LedgerError
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.status import read_status

STATE_SECONDS = 60.0
"""The state is said at least this often."""
_PAUSE_SECONDS = 2.0
_PAUSE_PER_LOOK = 20.0
"""Looking at a ledger of millions takes a while; it shall never be more than a twentieth of the time."""
_END_SECONDS = 1.0
_LONGEST_BACKOFF = 60
_MOST_QUEUED = 20
_KEEPALIVE = 30


class HomeAssistantLink:
    """An onlooker (see observers.Observer); owns the connection with the broker."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._topics = home_assistant.topics_for(settings)
        self._discovery = home_assistant.discovery(settings)
        self._health: dict[str, Any] = {}
        """Newer than what the ledger has, once something was heard of it."""
        self._news, self._retry_wanted = asyncio.Event(), asyncio.Event()
        self._told = News()
        self._is_connected = self._is_refused = self._is_ending = self._is_held_up = False
        self._sent: MQTTMessageInfo | None = None
        """The newest state; while the broker has not acknowledged it, no other follows."""
        self._pool = ThreadPoolExecutor(1, "home assistant")
        self._loop: asyncio.AbstractEventLoop | None = None
        url = urlsplit(settings.mqtt_url or "")
        self._is_tls = url.scheme == "mqtts"
        self._host, self._port = url.hostname or "", url.port or (8883 if self._is_tls else 1883)

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Uploads and losses are worth a new state."""
        if any(outcome.state is not State.PENDING for outcome in outcomes):
            self._news.set()

    def health_changed(self, condition: Condition, since: float) -> None:
        """So is another health, which the ledger holds only soon."""
        self._health = {"health": condition.health.value, "reason": condition.reason, "health_since": since}
        self._news.set()

    def proved(self) -> None:
        """Nothing that is shown."""

    async def regularly(self) -> None:
        """Connect, and tell until the service ends; then say goodbye."""
        self._loop = asyncio.get_running_loop()
        try:
            client = self._client()
            self._host.encode("idna")  # what paho's thread would die of
        except UnicodeError:
            logger().error("S3 snapshot mirror goes on without Home Assistant: S3_MQTT_URL holds no usable host name")
            return
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            logger().error(
                "S3 snapshot mirror goes on without Home Assistant: S3_MQTT_CA_BUNDLE holds no usable certificate (%s)",
                type(error).__name__,
            )
            return
        client.connect_async(self._host, self._port, _KEEPALIVE)
        client.loop_start()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell(client))
                tasks.create_task(self._retry())
        finally:
            self._is_ending = True
            await self._say_goodbye(client)
            self._pool.shutdown(wait=False, cancel_futures=True)

    # -- in the event loop -----------------------------------------------------------------------------------------

    async def _tell(self, client: Client) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), STATE_SECONDS)
            self._news.clear()
            began = self._clock.monotonic()
            if self._is_connected and self._may_send() and (state := await self._in_thread(self._look)) is not None:
                self._sent = client.publish(self._topics.state, state, qos=1, retain=True)
            await asyncio.sleep(max(_PAUSE_SECONDS, _PAUSE_PER_LOOK * (self._clock.monotonic() - began)))

    def _may_send(self) -> bool:
        """Whether the broker keeps up; else `_acknowledged` comes back to it."""
        self._is_held_up = True
        try:
            self._is_held_up = self._sent is not None and not self._sent.is_published()
        except (RuntimeError, ValueError):  # it never went out
            self._is_held_up = False
        return not self._is_held_up

    async def _retry(self) -> None:
        while True:
            await self._retry_wanted.wait()
            self._retry_wanted.clear()
            await self._in_thread(self._retry_failed)
            self._news.set()

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    async def _say_goodbye(self, client: Client) -> None:
        """An orderly end is no last will. A broker that does not acknowledge has its second, and no more."""
        if self._is_connected:
            farewell = client.publish(self._topics.availability, home_assistant.OFFLINE, qos=1, retain=True)
            # paho's errors say that it cannot go out at all.
            with contextlib.suppress(RuntimeError, ValueError, TimeoutError):
                await asyncio.wait_for(self._in_thread(partial(farewell.wait_for_publish, _END_SECONDS)), _END_SECONDS)
        client.disconnect()  # ends paho's thread, too; nobody waits for one that hangs in a name server

    # -- in a thread of our own ------------------------------------------------------------------------------------

    def _look(self) -> str | None:
        """The state as JSON; None when the ledger cannot be read now, which others tell."""
        now = self._clock.now()
        ledger = Ledger(self._settings.ledger_dir / FILE_NAME)
        try:
            status = read_status(self._settings, now)
            ledger.open(read_only=True)
            uploads = ledger.uploaded_since(home_assistant.midnight(now, self._settings.key_timezone))
        except (LedgerError, sqlite3.Error):
            return None
        finally:
            ledger.close()
        return home_assistant.state(replace(status, **self._health), uploads)

    def _retry_failed(self) -> None:
        """The same as the command `retry-failed`; the uploader finds them at its next look."""
        ledger = Ledger(self._settings.ledger_dir / FILE_NAME)
        try:
            ledger.open_beside()
            taken = ledger.retry_failed()
        except (LedgerError, sqlite3.Error) as error:
            logger().warning("S3 snapshot mirror: Home Assistant's 'Retry failed' did not work (%s)", error)
        else:
            logger().info(
                "S3 snapshot mirror: Home Assistant asks for another try of what failed events=%d", len(taken)
            )
        finally:
            ledger.close()

    # -- in paho's thread: nothing here may raise or wait ------------------------------------------------------------

    def _client(self) -> Client:
        """Ready to connect. The id is new each time: two mirrors of one name must not throw each other out."""
        name = f"{home_assistant.device_id(self._settings.site)}_{secrets.token_hex(4)}"
        client = Client(CallbackAPIVersion.VERSION2, client_id=name)
        client.reconnect_delay_set(1, _LONGEST_BACKOFF)
        client.max_queued_messages_set(_MOST_QUEUED)
        client.will_set(self._topics.availability, home_assistant.OFFLINE, qos=1, retain=True)
        if self._settings.mqtt_user is not None:
            password = self._settings.mqtt_password
            client.username_pw_set(self._settings.mqtt_user, password.get_secret_value() if password else None)
        if self._is_tls:
            bundle = self._settings.mqtt_ca_bundle
            client.tls_set_context(ssl.create_default_context(cafile=str(bundle) if bundle else None))
        client.on_connect, client.on_connect_fail = self._answered, self._unreachable
        client.on_disconnect, client.on_message, client.on_publish = self._disconnected, self._heard, self._acknowledged
        return client

    def _answered(self, client: Client, _data: object, _flags: object, reason: ReasonCode, _more: object) -> None:
        if reason.is_failure:
            self._is_refused = True
            self._say(refusal(str(reason), has_user=self._settings.mqtt_user is not None))
            return
        self._is_connected = True
        if self._told.is_good_news():
            logger().info("S3 snapshot mirror: connected to the MQTT broker %s:%d", self._host, self._port)
        client.subscribe([(self._topics.birth, 1), (self._topics.retry, 1), (self._topics.availability, 1)])
        self._introduce(client)

    def _introduce(self, client: Client) -> None:
        client.publish(self._topics.discovery, self._discovery, qos=1, retain=True)
        client.publish(self._topics.availability, home_assistant.ONLINE, qos=1, retain=True)
        self._in_loop(self._news.set)

    def _unreachable(self, _client: Client, _data: object) -> None:
        self._say(no_connection(sys.exception()))  # paho calls this from where it caught it

    def _disconnected(self, _client: Client, _data: object, _flags: object, reason: ReasonCode, _more: object) -> None:
        """Also comes after a refusal, of which `_answered` has told, and before any answer."""
        was_connected, self._is_connected = self._is_connected, False
        was_refused, self._is_refused = self._is_refused, False
        if not (self._is_ending or was_refused):
            self._say(LOST if was_connected else NO_GREETING)

    def _heard(self, client: Client, _data: object, message: MQTTMessage) -> None:
        said = message.payload
        if message.topic == self._topics.retry:
            if said == home_assistant.PRESS.encode() and not message.retain:  # a retained one is old
                self._in_loop(self._retry_wanted.set)
        elif self._is_ending:
            return
        elif message.topic == self._topics.birth and said == home_assistant.ONLINE.encode():
            self._introduce(client)
        elif message.topic == self._topics.availability and said == home_assistant.OFFLINE.encode():
            # The last will of a connection before this one, which the broker noticed late.
            client.publish(self._topics.availability, home_assistant.ONLINE, qos=1, retain=True)

    def _acknowledged(self, *_: object) -> None:
        """A newer state may have waited for it."""
        if self._is_held_up:
            self._in_loop(self._news.set)

    def _say(self, sentence: str) -> None:
        if self._told.is_bad_news(sentence, self._clock.monotonic()):
            logger().warning(
                "S3 snapshot mirror: no connection with the MQTT broker %s:%d: %s. Uploads go on, and it keeps trying.",
                self._host, self._port, sentence,
            )  # fmt: skip

    def _in_loop(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            if self._loop is not None:
                self._loop.call_soon_threadsafe(call)
