"""The pictures on an event's page: those of its objects, and those that the bucket got while it still ran."""

from __future__ import annotations

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from frigate_s3_mirror.catalogue import Picture, open_catalogue
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import FILE_NAME
from frigate_s3_mirror.live_ledger import LiveLedger, LivePicture
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.web.pictures import LINK_SECONDS, Pictures

_ADDRESS_KEPT = {"Cache-Control": f"private, max-age={LINK_SECONDS / 2:.0f}"}
"""A browser that comes back asks neither us nor S3 again, and the address that it keeps still works for as long."""
_PICTURE_KEPT = "private, max-age=3600"


class PicturePages:
    """Routes of their own, and what the event's page shows."""

    def __init__(self, settings: Settings, pictures: Pictures) -> None:
        self._settings, self._pictures = settings, pictures

    def routes(self) -> list[Route]:
        """One for each sort of picture."""
        return [
            Route("/picture/{event_id}", self.picture),
            Route("/live-picture/{event_id}/{number:int}", self.live_picture),
        ]

    def objects(self, event_id: str) -> list[Picture]:
        """All objects of an event but its clip, its snapshot first. Raises LedgerError."""
        with open_catalogue(Ledger.of(self._settings)) as catalogue:
            return catalogue.event(event_id)

    def while_it_ran(self, event_id: str) -> list[LivePicture]:
        """Live pictures of an event, the oldest first; none where the feature is off. Raises LedgerError."""
        if not self._settings.live:
            return []
        with LiveLedger(self._settings.ledger_dir / FILE_NAME).reading() as ledger:
            return ledger.of_event(event_id)

    async def picture(self, request: Request) -> Response:
        """The picture: by a presigned address, or from here."""
        found = await run_sync(self.objects, request.path_params["event_id"])
        if not found:
            return PlainTextResponse("There is no such event.\n", 404)
        address = await run_sync(self._pictures.address, found[0])
        if address is not None:
            return RedirectResponse(address, 307, headers=_ADDRESS_KEPT)
        headers = {}
        if found[0].sha256 is not None:
            headers = {"ETag": f'"{found[0].sha256}"', "Cache-Control": _PICTURE_KEPT}
            if request.headers.get("if-none-match") == headers["ETag"]:
                return Response(status_code=304, headers=headers)
        content = await run_sync(self._pictures.read, found[0])
        if content is None:
            return PlainTextResponse("Neither the bucket nor Frigate gives this picture.\n", 404)
        return Response(content.content, media_type=content.media_type, headers=headers)

    async def live_picture(self, request: Request) -> Response:
        """A picture of an event that ran then."""
        event_id, number = request.path_params["event_id"], request.path_params["number"]
        pictures = await run_sync(self.while_it_ran, event_id)
        keys = [picture.key for picture in pictures if picture.number == number]
        if not keys:
            return PlainTextResponse("There is no such picture.\n", 404)
        if not self._pictures.proxied:
            return RedirectResponse(await run_sync(self._pictures.address_of, keys[0]), 307, headers=_ADDRESS_KEPT)
        try:
            return Response(await run_sync(self._pictures.store.get, keys[0]), media_type="image/jpeg")
        except StoreError as error:
            return PlainTextResponse(f"{error}\n", 502)
