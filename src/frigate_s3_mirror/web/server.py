"""Serves the status page from a thread of its own, so that a slow browser never holds up an upload."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence

import uvicorn

from frigate_s3_mirror.entries import Outcome
from frigate_s3_mirror.health import Condition, Vital
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.runtime.problem_log import ProblemLog
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.web.app import StatusApp
from frigate_s3_mirror.web.connections import MOST_CONNECTIONS, PunctualProtocol

_END_SECONDS = 2
_PORT_SECONDS = 60.0  # between two tries of a port that is taken


class StatusPage:
    """An onlooker (see observers.Observer) that serves until the service ends."""

    def __init__(self, settings: Settings, address: tuple[str, int], vital: Callable[[], Vital] | None = None) -> None:
        """`vital` says how the service does at this moment; without it the page tells what other processes can see."""
        self._settings, self._address, self._vital = settings, address, vital
        self._app: StatusApp | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._is_ready = threading.Event()

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Count for Prometheus."""
        if self._app is not None:
            self._app.metrics.settled(outcomes)

    def live_picture(self, camera: str, result: str) -> None:
        """See live.Tell."""
        if self._app is not None:
            self._app.metrics.live_picture(camera, result)

    def health_changed(self, condition: Condition, since: float) -> None:
        """The page reads the health when it is looked at."""

    def proved(self) -> None:
        """The page reads this, too."""

    async def regularly(self) -> None:
        """Serve; a port that is taken is told, and tried again until it is free. Raises when the page's thread ends."""
        host, _ = self._address
        listening = await self._listening()
        shown = f"[{host}]" if ":" in host else host
        logger().info("S3 snapshot mirror status page: http://%s:%d/", shown, listening.getsockname()[1])
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        self._is_ready.clear()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, too
                loop.call_soon_threadsafe(ended.set)

        thread = threading.Thread(target=self._serve, args=(listening, tell), name="status page", daemon=True)
        thread.start()
        try:
            await ended.wait()
            raise RuntimeError("the status page's thread has ended")
        finally:
            self._is_ready.wait(_END_SECONDS)
            if self._loop is not None and self._stop is not None and self._app is not None:
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._app.end)
                    self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(_END_SECONDS)

    async def _listening(self) -> socket.socket:
        where = self._settings.status_listen.replace("%", "%%")
        problem = ProblemLog(
            logger(),
            f"S3 snapshot mirror: the status page cannot listen on {where} (%s); "
            "S3_STATUS_LISTEN chooses another address, or off",
        )
        while True:
            try:
                return _listen(*self._address)
            except OSError as error:
                problem.report(error.strerror or str(error))
            await asyncio.sleep(_PORT_SECONDS)

    def _serve(self, listening: socket.socket, has_ended: Callable[[], None]) -> None:
        try:
            asyncio.run(self._serve_until_stopped(listening))
        except Exception:  # noqa: BLE001  # outermost frame of the thread
            logger().exception("S3 snapshot mirror: the status page failed")
        finally:
            listening.close()
            self._is_ready.set()
            has_ended()

    async def _serve_until_stopped(self, listening: socket.socket) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._app = StatusApp(self._settings, self._address[0], self._vital)
        config = uvicorn.Config(
            self._app.build(), http=PunctualProtocol, ws="none", lifespan="off", loop="asyncio", interface="asgi3",
            log_config=None, log_level="critical", access_log=False, server_header=False, date_header=False,
            timeout_graceful_shutdown=1, limit_concurrency=4 * MOST_CONNECTIONS, proxy_headers=False,
        )  # fmt: skip
        server = _QuietServer(config)
        server.until = self._stop
        self._is_ready.set()
        logger().addHandler(self._app.metrics.log_counter)
        try:
            await server.serve(sockets=[listening])
        finally:
            logger().removeHandler(self._app.metrics.log_counter)


class _QuietServer(uvicorn.Server):
    """Sleeps until its end; the original looks ten times a second whether that has come."""

    until: asyncio.Event

    async def main_loop(self) -> None:
        """Wait."""
        await self.until.wait()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(64)
    except OSError:
        listening.close()
        raise
    return listening
