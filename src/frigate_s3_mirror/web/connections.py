"""Connections to the status page that ask for nothing: they are closed in time, and never keep others out."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

MOST_CONNECTIONS = 64
"""Of those that wait or ask; a newcomer takes the place of the one that has been silent for longest."""
REQUEST_SECONDS = 10.0
"""Within which a request's headers must be there, and a form's fields."""
_ACKNOWLEDGED_MS = 30_000  # a reader that takes nothing for so long is gone


class PunctualProtocol(H11Protocol):
    """HTTP by uvicorn, which has no time limit for headers (its timeout_keep_alive ends with a request's first byte)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.silent_since = self.loop.time()
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time for the first request, and make room."""
        super().connection_made(transport)
        connected = transport.get_extra_info("socket")
        if connected is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _ACKNOWLEDGED_MS)
        self._make_room()
        self._start_limit()

    def data_received(self, data: bytes) -> None:
        """Hand the bytes on; without a whole request afterwards, the time for it runs."""
        super().data_received(data)
        if self._is_answering:
            self._end_limit()
        elif self._limit is None:
            self._start_limit()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        self._end_limit()
        super().connection_lost(exc)

    @property
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not self.cycle.response_complete

    def _start_limit(self) -> None:
        self.silent_since = self.loop.time()
        self._limit = self.loop.call_later(REQUEST_SECONDS, self._close_if_silent)

    def _end_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _close_if_silent(self) -> None:
        self._limit = None
        if not self._is_answering:
            self.transport.abort()

    def _make_room(self) -> None:
        others = [other for other in self.connections if isinstance(other, PunctualProtocol) and other is not self]
        if len(others) < MOST_CONNECTIONS:
            return
        silent = [other for other in others if not other._is_answering]
        if silent:
            min(silent, key=lambda other: other.silent_since).transport.abort()
