"""How this mirror reaches its Frigate: by its disk, or by its API."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from frigate_s3_mirror.folders import DiskFolder, Folder
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


def access(settings: Settings) -> FrigateAccess:
    """The way that FRIGATE_SOURCE names."""
    recordings = settings.effective_recordings_dir
    return FrigateAccess(
        settings.event_database,
        DiskPictures(settings.clips_dir),
        DiskFolder(settings.clips_dir),
        DiskFiles(recordings),
        DiskFolder(recordings, "recordings folder", "FRIGATE_RECORDINGS_DIR"),
    )
