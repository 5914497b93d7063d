"""How this mirror reaches its Frigate: by its disk, or by its API."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from frigate_s3_mirror.api_files import RECORDINGS, ApiFiles, ApiPictures
from frigate_s3_mirror.api_folder import ApiFolder, look_at_pictures, look_at_recordings
from frigate_s3_mirror.expected_files import expected_pictures, expected_recordings
from frigate_s3_mirror.folders import DiskFolder, Folder
from frigate_s3_mirror.frigate_api import FrigateApi
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import DiskFiles, DiskPictures, Files, Pictures


@dataclass(frozen=True, slots=True)
class FrigateAccess:
    """Frigate's tables and files, as far as they are read."""

    database: Path
    pictures: Pictures
    clips_folder: Folder
    recordings: Files
    recordings_folder: Folder
    api: FrigateApi | None = None
    """Where all of this comes from, None when it is on this machine."""


def access(settings: Settings) -> FrigateAccess:
    """The way that FRIGATE_SOURCE names."""
    return _over_http(settings) if settings.frigate_source == "api" else _on_disk(settings)


def _on_disk(settings: Settings) -> FrigateAccess:
    recordings = settings.effective_recordings_dir
    return FrigateAccess(
        settings.event_database,
        DiskPictures(settings.clips_dir),
        DiskFolder(settings.clips_dir, expected=partial(expected_pictures, settings, "clips folder")),
        DiskFiles(recordings),
        DiskFolder(
            recordings,
            "recordings folder",
            "FRIGATE_RECORDINGS_DIR",
            expected=partial(expected_recordings, settings, "recordings folder"),
        ),
    )


def _over_http(settings: Settings) -> FrigateAccess:
    api, folder, copy = FrigateApi(settings), settings.ledger_dir, settings.event_database
    pictures = ApiPictures(api, folder)
    recordings = ApiFiles(api, "recordings", RECORDINGS, folder)
    retention_seconds = settings.frigate_retention_days * 86400
    return FrigateAccess(
        copy,
        pictures,
        ApiFolder("snapshots", partial(look_at_pictures, pictures, copy, retention_seconds)),
        recordings,
        ApiFolder("recordings", partial(look_at_recordings, recordings, copy)),
        api,
    )
