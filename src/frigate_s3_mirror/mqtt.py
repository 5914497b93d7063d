"""Tells Home Assistant over MQTT how the mirror does, and takes its one command. What is said is in `home_assistant`.

paho's own thread (see `broker`) talks with the broker and holds what is to be sent; nothing here ever
waits for the broker but the end, shortly. While the broker is away nothing is queued: with the connection comes
all that it must know.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo

from frigate_s3_mirror import home_assistant
from frigate_s3_mirror.broker import BrokerError, BrokerLink
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.entries import Outcome
from frigate_s3_mirror.health import Condition, Vital
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import LedgerError
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


class HomeAssistantLink:
    """An onlooker (see observers.Observer); owns the connection with the broker."""

    def __init__(self, settings: Settings, clock: Clock, vital: Callable[[], Vital] | None = None) -> None:
        """`vital` says how the service does at this moment; without it, what other processes can see is told."""
        self._settings, self._clock, self._vital = settings, clock, vital
        self._topics = home_assistant.topics_for(settings)
        self._discovery = home_assistant.discovery(settings)
        self._told: Vital | None = None
        """What was heard last."""
        self._news, self._retry_wanted = asyncio.Event(), asyncio.Event()
        self._is_held_up = False
        self._link = self._new_link()
        self._sent: MQTTMessageInfo | None = None
        """The newest state; while the broker has not acknowledged it, no other follows."""
        self._pool = _new_pool()
        self._loop: asyncio.AbstractEventLoop | None = None

    def _new_link(self) -> BrokerLink:
        name = home_assistant.device_id(self._settings.site)
        return BrokerLink(self._settings, self._clock, name, self._connected, self._heard, purpose="its status")

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Uploads and losses are worth a new state."""
        if any(outcome.state is not State.PENDING for outcome in outcomes):
            self._news.set()

    def health_changed(self, condition: Condition, since: float) -> None:
        """So is another health."""
        self._told = Vital(condition, since, since)
        self._news.set()

    def proved(self) -> None:
        """Nothing that is shown."""

    async def regularly(self) -> None:
        """Connect, and tell until the service ends; then say goodbye."""
        self._loop = asyncio.get_running_loop()
        if self._link.is_ending:  # it is run anew
            self._link, self._pool, self._sent = self._new_link(), _new_pool(), None
        client = self._link.client
        client.will_set(self._topics.availability, home_assistant.OFFLINE, qos=1, retain=True)
        client.on_publish = self._acknowledged
        try:
            self._link.start()
        except BrokerError as error:
            logger().error("S3 snapshot mirror goes on without Home Assistant: %s", error)
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell(client))
                tasks.create_task(self._retry())
        finally:
            self._link.is_ending = True
            await self._say_goodbye(client)
            self._pool.shutdown(wait=False, cancel_futures=True)

    # -- in the event loop -----------------------------------------------------------------------------------------

    async def _tell(self, client: Client) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATE_SECONDS):
                    await self._news.wait()
            self._news.clear()
            began = self._clock.monotonic()
            if (
                self._link.is_connected
                and self._may_send()
                and (state := await self._in_thread(self._look)) is not None
            ):
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
        if self._link.is_connected:
            farewell = client.publish(self._topics.availability, home_assistant.OFFLINE, qos=1, retain=True)
            # paho's errors say that it cannot go out at all.
            with contextlib.suppress(RuntimeError, ValueError, TimeoutError):
                await asyncio.wait_for(self._in_thread(partial(farewell.wait_for_publish, _END_SECONDS)), _END_SECONDS)
        self._link.stop()

    # -- in a thread of our own ------------------------------------------------------------------------------------

    def _look(self) -> str | None:
        """The state as JSON; None when the ledger cannot be read now, which others tell."""
        now = self._clock.now()
        ledger = Ledger.of(self._settings)
        vital = self._told if self._vital is None else self._vital()
        try:
            status = read_status(self._settings, now)
            ledger.open(read_only=True)
            uploads = ledger.uploaded_since(home_assistant.midnight(now, self._settings.key_timezone))
        except (LedgerError, sqlite3.Error):
            return None
        finally:
            ledger.close()
        return home_assistant.state(status if vital is None else status.lived(vital), uploads)

    def _retry_failed(self) -> None:
        """The same as the command `retry-failed`; the uploader finds them at its next look."""
        ledger = Ledger.of(self._settings)
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

    def _connected(self, client: Client) -> None:
        client.subscribe([(self._topics.birth, 1), (self._topics.retry, 1), (self._topics.availability, 1)])
        self._introduce(client)

    def _introduce(self, client: Client) -> None:
        client.publish(self._topics.discovery, self._discovery, qos=1, retain=True)
        client.publish(self._topics.availability, home_assistant.ONLINE, qos=1, retain=True)
        self._in_loop(self._news.set)

    def _heard(self, client: Client, message: MQTTMessage) -> None:
        said = message.payload
        if message.topic == self._topics.retry:
            if said == home_assistant.PRESS.encode() and not message.retain:  # a retained one is old
                self._in_loop(self._retry_wanted.set)
        elif self._link.is_ending:
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

    def _in_loop(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            if self._loop is not None:
                self._loop.call_soon_threadsafe(call)


def _new_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "home assistant")
