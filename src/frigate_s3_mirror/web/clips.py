"""The clip on an event's page: its segments, one address each, and a playlist for players that are no browser."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from frigate_s3_mirror.clip_catalogue import KnownSegment, began_at, clip_of, known_segment
from frigate_s3_mirror.clips import ClipPart, clip_parts, playlist
from frigate_s3_mirror.keys import CONTENT_TYPES
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import SourceRefusedError, SourceUnreachableError, SourceVanishedError
from frigate_s3_mirror.stretches import NoSuchStretchError, Stretch, Wanted, of_file, wanted
from frigate_s3_mirror.web.access import Access
from frigate_s3_mirror.web.pictures import LINK_SECONDS, Origin, Pictures
from frigate_s3_mirror.web.views import clock_time

WATCH_SECONDS = 3600
"""How long the addresses in a playlist work: long enough to watch it."""
_REMEMBERED = {"Cache-Control": f"private, max-age={LINK_SECONDS / 2:.0f}"}
"""What was loaded ahead is not asked for again; an address that a browser keeps still works for as long once more."""


class ClipPages:
    """Routes of their own, and what the event's page shows."""

    def __init__(self, settings: Settings, pictures: Pictures, visitors: Access) -> None:
        self._settings, self._pictures, self._visitors = settings, pictures, visitors
        self._zone = ZoneInfo(settings.key_timezone) if settings.key_timezone else None

    def routes(self) -> list[Route]:
        """Playlists first: a segment's name ends in nothing."""
        return [
            Route("/clip/{event_id}.m3u8", self.playlist),
            Route("/clip/{event_id}/{segment}", self.segment),
        ]

    def shown(self, event_id: str) -> dict[str, Any]:
        """What the event's page needs to know; nothing where there is no clip."""
        with self._ledger() as ledger:
            clip = clip_of(ledger, event_id)
        if clip is None:
            return {"clip": None}
        key = clip.parts[0].key if clip.parts else None
        return {
            "clip": clip,
            "clip_goes_on": clip.goes_on(time.time()),
            "clip_origin": self._pictures.origin_of(key),
            "clip_links": [(part.name, self._said(part.name)) for part in clip.parts],
        }

    async def segment(self, request: Request) -> Response:
        """A segment: by a presigned address, or from here, also a stretch of it."""
        found = await run_sync(self._known, request.path_params["event_id"], request.path_params["segment"])
        if found is None:
            return PlainTextResponse("There is no such segment.\n", 404)
        if not await run_sync(self._pictures.is_served_here, found.key):
            return RedirectResponse(await run_sync(self._pictures.address_of, found.key), 307, headers=_REMEMBERED)
        part = wanted(request.headers.get("range"))
        try:
            stretch = await run_sync(self._open, found, part)
        except NoSuchStretchError:
            return PlainTextResponse("The segment ends before that.\n", 416)
        if stretch is None:
            return PlainTextResponse("Neither the bucket nor Frigate gives this segment.\n", 404)
        return _answer(stretch, is_part=part is not None)

    async def playlist(self, request: Request) -> Response:
        """The whole clip for VLC, mpv and the like."""
        event_id = request.path_params["event_id"]
        content = await run_sync(self._playlist, event_id, _own_address(request))
        if content is None:
            return PlainTextResponse("There is no clip of this event.\n", 404)
        name = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(event_id, safe='')}.m3u8"}
        return Response(content, media_type=CONTENT_TYPES["m3u8"], headers=name)

    def _playlist(self, event_id: str, own_address: str) -> bytes | None:
        with self._ledger() as ledger:
            parts = clip_parts(ledger, event_id)
        if not parts:
            return None
        here = self._pictures.is_served_here(parts[0].key)
        until = int(time.time()) + WATCH_SECONDS

        def address(part: ClipPart) -> str:
            if not here:
                return self._pictures.address_of(part.key, WATCH_SECONDS)
            path = f"/clip/{event_id}/{part.name}"
            return own_address + quote(path) + self._visitors.ticket(path, until)

        return playlist((part, address(part)) for part in parts)

    def _known(self, event_id: str, name: str) -> KnownSegment | None:
        with self._ledger() as ledger:
            return known_segment(ledger, event_id, name)

    def _open(self, segment: KnownSegment, part: Wanted | None) -> Stretch | None:
        """From the bucket, else from Frigate's folder; None when neither has it. Raises NoSuchStretchError."""
        if self._pictures.origin_of(segment.key) is Origin.BUCKET:
            try:
                return self._pictures.store.read(segment.key, part)
            except StoreError:
                pass  # shown from here, if it is still here
        if segment.recording is None:
            return None
        try:
            return of_file(*self._pictures.frigate.recordings.open(segment.recording), part)
        except (SourceVanishedError, SourceRefusedError, SourceUnreachableError):
            return None

    def _said(self, name: str) -> str:
        """A segment as people call it: by the time at which it begins."""
        at = began_at(name)
        return name if at is None else clock_time(at, self._zone).split()[-1]

    def _ledger(self) -> AbstractContextManager[Ledger]:
        return Ledger.of(self._settings).reading()


def _answer(stretch: Stretch, *, is_part: bool) -> Response:
    headers = {**stretch.headers(), **_REMEMBERED}
    if not is_part:
        del headers["Content-Range"]
    return StreamingResponse(stretch.chunks, 206 if is_part else 200, headers, CONTENT_TYPES["mp4"])


def _own_address(request: Request) -> str:
    """This page's own address, as the visitor has it."""
    is_secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    return f"{'https' if is_secure else 'http'}://{request.url.netloc}"
