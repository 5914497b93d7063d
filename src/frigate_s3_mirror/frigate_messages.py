"""Listens to what Frigate says over MQTT of running events, so that nobody need wait for the next look.

The topics and their contents: https://docs.frigate.video/integrations/mqtt
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from paho.mqtt.client import Client, MQTTMessage

from frigate_s3_mirror.broker import BrokerError, BrokerLink
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.entries import Outcome
from frigate_s3_mirror.events import Event, Filters
from frigate_s3_mirror.health import Condition
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.runtime.untrusted import RefusedValueError, number, parse_json, text, unix_time
from frigate_s3_mirror.settings import Settings

Value = TypeVar("Value")


class Hinted(Protocol):
    """Who wants to know; see live.LivePictures and api_loop.ApiLoop. Called in paho's thread."""

    def hint(self, event: Event, frame_at: float | None) -> None:
        """This event runs, and its picture is new or better: of a frame that was taken then (unix seconds)."""

    def ended(self, event_id: str) -> None:
        """It is over."""

    def listening(self, is_listening: bool) -> None:  # noqa: FBT001
        """Whether messages come from now on: Frigate says at this very broker that it is there."""


_AFTER = b'"after": {"id": "'
_OBJECT = re.compile(
    rb'"after": \{"id": "([^"\\]+)", "camera": "[^"\\]*", "frame_time": [0-9.]+, "snapshot": \{"frame_time": ([0-9.]+)[,}]'
)
_UPDATE = b'"type": "update"}'


@dataclass(frozen=True, slots=True)
class Said:
    """What one message says. `event` None: it ended, or is not held for real."""

    event_id: str
    event: Event | None
    is_end: bool
    picture_at: float | None
    """When the frame of its best picture was taken (unix seconds)."""


def glance(payload: bytes) -> tuple[str, float] | None:
    """Whose update this is and when its picture was taken, without reading it all.

    Several times a second Frigate repeats all that it knows of each object, its whole path included: with 80 KB, reading
    all of it takes 3 ms, this takes microseconds. None for what is not written as 0.14 to 0.18 write it; then
    `understand` decides.
    """
    if not payload.endswith(_UPDATE):
        return None
    match = _OBJECT.match(payload, max(0, payload.find(_AFTER)))
    if match is None:
        return None
    try:
        return match[1].decode(errors="replace"), number(match[2].decode())
    except RefusedValueError:
        return None


def understand(payload: bytes) -> Said | None:
    """What a message of `frigate/events` says; None when it is none, whatever it holds."""
    try:
        message = parse_json(payload)
        after = message.get("after") if isinstance(message, dict) else None
        if not isinstance(message, dict) or not isinstance(after, dict):
            return None
        event_id, snapshot = text(after.get("id")), after.get("snapshot")
        is_end = message.get("type") == "end"
        is_real = bool(after.get("has_snapshot")) and not after.get("false_positive") and after.get("end_time") is None
        event = _event(after) if is_real and not is_end else None
    except RefusedValueError:
        return None
    picture_at = snapshot.get("frame_time") if isinstance(snapshot, dict) else None
    return Said(event_id, event, is_end, _or_none(unix_time, picture_at))


def _event(after: dict[str, Any]) -> Event:
    """Raises RefusedValueError when id, camera or start are none; what else is odd is left away."""
    sub_label, score, zones = (
        after.get("sub_label"),
        _or_none(number, after.get("top_score")),
        after.get("entered_zones"),
    )
    if isinstance(sub_label, list):  # name and score, from 0.14 on
        sub_label = sub_label[0] if sub_label else None
    named = (_or_none(text, zone) for zone in zones) if isinstance(zones, list) else ()
    return Event(
        id=text(after.get("id")),
        camera=text(after.get("camera")),
        label=_or_none(text, after.get("label")) or "",
        sub_label=_or_none(text, sub_label) or None,
        start_time=unix_time(after.get("start_time")),
        end_time=None,
        has_snapshot=True,
        zones=tuple(zone for zone in named if zone),
        score=None if score is None else round(score, 4),
        is_manual=False,
    )


def _or_none(gate: Callable[[object], Value], value: object) -> Value | None:
    """The value as it passes the gate, None when it does not."""
    try:
        return gate(value)
    except RefusedValueError:
        return None


class FrigateMessages:
    """An onlooker (see observers.Observer) that passes on what it hears."""

    def __init__(self, settings: Settings, hinted: Sequence[Hinted], clock: Clock) -> None:
        self._settings, self._hinted = settings, hinted
        prefix = settings.frigate_mqtt_topic.rstrip("/")
        self._topic, self._presence = f"{prefix}/events", f"{prefix}/available"
        self._clock = clock
        self._link = self._new_link()
        self._filters = Filters(settings.cameras, settings.labels)
        self._newest: dict[str, float | None] = {}
        """When the best picture of a running event was taken, as far as that was heard; also of unwanted events."""

    def _new_link(self) -> BrokerLink:
        link = BrokerLink(
            self._settings,
            self._clock,
            "frigate_s3_mirror_live",
            self._connected,
            self._heard,
            purpose="Frigate's events",
        )
        link.on_lost = lambda: self._tell_listening(is_listening=False)
        return link

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing to do."""

    def health_changed(self, condition: Condition, since: float) -> None:
        """Nothing to do."""

    def proved(self) -> None:
        """Nothing to do."""

    async def regularly(self) -> None:
        """Listen until the service ends."""
        if self._link.is_ending:  # it is run anew
            self._link = self._new_link()
        try:
            self._link.start()
        except BrokerError as error:
            logger().error("S3 snapshot mirror goes on without Frigate's messages: %s", error)
            return
        try:
            await asyncio.Event().wait()
        finally:
            self._link.stop()

    # -- in paho's thread: nothing here may wait; what raises is told by BrokerLink ------------------------------------------------------------

    def _connected(self, client: Client) -> None:
        client.subscribe([(self._topic, 0), (self._presence, 0)])  # in this order: Frigate's presence is a kept message

    def _heard(self, _client: Client, message: MQTTMessage) -> None:
        payload = bytes(message.payload)
        if message.topic == self._presence:
            self._newest.clear()  # a Frigate that began anew has other events
            self._tell_listening(is_listening=payload == b"online")
            return
        seen = glance(payload)
        if seen is not None and self._newest.get(seen[0]) == seen[1]:
            return
        if (said := understand(payload)) is not None:
            self._take(said)

    def _take(self, said: Said) -> None:
        if said.is_end:
            self._newest.pop(said.event_id, None)
            for hinted in self._hinted:
                hinted.ended(said.event_id)
        elif said.event is not None:
            is_news = said.event_id not in self._newest or self._newest[said.event_id] != said.picture_at
            self._newest[said.event_id] = said.picture_at
            if is_news and said.event.is_named_safely and self._filters.wants(said.event):
                for hinted in self._hinted:
                    hinted.hint(said.event, said.picture_at)

    def _tell_listening(self, *, is_listening: bool) -> None:
        for hinted in self._hinted:
            hinted.listening(is_listening)
