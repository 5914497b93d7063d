"""Puts the folder of the Home Assistant add-on together: `make addon`. Standard library only.

The Supervisor builds an add-on out of its own folder alone, so the package and its locked requirements go into it.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "frigate-s3-mirror-addon"
PARTS = {
    "deploy/home-assistant": ".",
    "CHANGELOG.md": "CHANGELOG.md",
    "LICENSE": "LICENSE",
    "pyproject.toml": "pyproject.toml",
    "requirements/runtime.txt": "requirements.txt",
    "src": "src",
}
"""What goes where."""
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", "demo", ".*")


def main(dist: Path) -> None:
    """Make the folder and its archive below `dist`, in place of those that are there."""
    folder = assemble(dist / NAME)
    archive = pack(folder)
    print(f"{folder} is ready to be copied into Home Assistant's addons folder; {archive} holds the same.")


def assemble(folder: Path) -> Path:
    """Copy all parts into a fresh folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for source, target in PARTS.items():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / target, ignore=LEFT_OUT, dirs_exist_ok=True)
        else:
            shutil.copyfile(ROOT / source, folder / target)
    return folder


def pack(folder: Path) -> Path:
    """The same files make the same archive, whoever packs them and when."""
    archive = folder.with_name(f"{folder.name}.tar.gz")
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(folder.rglob("*")):
            tar.add(path, f"{folder.name}/{path.relative_to(folder)}", recursive=False, filter=_anonymous)
    return archive


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist")
