"""The compose file on its disk, and what else knows how compose would read it: Docker, PyYAML, `.env` files.

A file is replaced as a whole or not at all, with its owner and rights; a link is followed and stays a link. Standard
library only, Python 3.7.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

DOCKER_PATIENCE = 60.0
"""Seconds that Docker is given for an answer."""


# -- reading ---------------------------------------------------------------------------------------------------------


def text_of(path: Path) -> str:
    """Return the file's text; bytes that are no UTF-8 (in comments, say) come back as they were when it is written."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, "it is no regular file")
    return path.read_bytes().decode("utf-8", "surrogateescape")


def variables_of(path: Path) -> dict[str, str | None]:
    """Return the variables of an env file, None for those that the host's environment has to give; empty without it."""
    try:
        text = text_of(path)
    except OSError:
        return {}
    found: dict[str, str | None] = {}
    for line in text.lstrip("\ufeff").splitlines():
        match = re.match(r"\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*(?:=(.*))?$", line)
        if match is None:
            continue
        name, value = match.groups()
        quoted = re.match(r"""\s*(["'])(.*)\1\s*(?:#.*)?$""", value or "")
        found[name] = quoted.group(2) if quoted else value and re.sub(r"\s+#.*$", "", value).strip()
    return found


def host_variables(folder: Path) -> dict[str, str]:
    """Return what compose puts in place of `${NAME}`: the folder's `.env`, and above it the host's environment."""
    own = {name: value for name, value in variables_of(folder / ".env").items() if value is not None}
    return {**own, **os.environ}


def interpolated(value: str, host: dict[str, str]) -> str:
    """Return the value with `${NAME}`, `$NAME` and `${NAME:-default}` replaced."""

    def replaced(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        name, operator, word = match.group(1) or match.group(4), match.group(2) or "", match.group(3) or ""
        given = host.get(name)
        is_missing = given is None or (operator.startswith(":") and not given)
        if operator.endswith("-"):
            return word if is_missing else given or ""
        if operator.endswith("+"):
            return "" if is_missing else word
        return given or ""

    return re.sub(r"\$\$|\$\{(\w+)(?:(:?[-+?])([^}]*))?\}|\$(\w+)", replaced, value)


def other_readers() -> list[Callable[[str], Any]]:
    """Return PyYAML, where it happens to be installed. It raises ValueError for what it cannot read."""
    try:
        import yaml
    except ImportError:
        return []

    def read(text: str) -> Any:
        try:
            return yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError) as error:
            raise ValueError(str(error)) from error

    return [read]


class Docker:
    """`docker compose config`: the files as compose itself reads them, `env_file` and overrides included."""

    def __init__(self, command: list[str], files: list[Path]) -> None:
        self.command, self.files = command, files

    def view(self, files: list[Path] | None = None) -> dict[str, Any] | None:
        """Return compose's answer; None when it has none (it is not there, too old, or refuses the files)."""
        named = [word for file in files or self.files for word in ("-f", str(file))]
        command = [
            *self.command,
            "--project-directory",
            str(self.files[0].parent),
            *named,
            "config",
            "--format",
            "json",
        ]
        try:
            done = subprocess.run(  # noqa: UP022 (Python 3.7)
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                timeout=DOCKER_PATIENCE,
                check=False,
            )
            found = json.loads(done.stdout) if done.returncode == 0 else None
        except (OSError, ValueError, RecursionError, subprocess.TimeoutExpired):
            return None
        return found if isinstance(found, dict) and isinstance(found.get("services"), dict) else None

    def sees_no_more(self, file: Path, candidate: Path, service: str) -> bool:
        """Whether the candidate in the file's place differs by nothing but the mirror's lines."""
        before = self.view()
        if before is None:
            return True
        after = self.view([candidate if each.samefile(file) else each for each in self.files])
        return after is not None and without_mirror(before, service) == without_mirror(after, service)


def without_mirror(view: dict[str, Any], service: str) -> dict[str, Any]:
    """Return compose's answer without what the mirror's lines are about."""
    found = dict(view["services"].get(service) or {})
    found.pop("stop_grace_period", None)
    environment = dict(found.get("environment") or {})
    environment.pop("PYTHONPATH", None)
    volumes = [volume for volume in found.get("volumes") or [] if volume.get("target") != "/opt/s3-mirror"]
    found.update(environment=environment, volumes=volumes)
    return {**view, "services": {**view["services"], service: found}}


# -- writing ---------------------------------------------------------------------------------------------------------


def end_in_order_when_asked() -> None:
    """Let the signals that end a process do it as Ctrl-C does, so that what was begun is taken back."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def backups_of(file: Path) -> list[Path]:
    """Return the copies that were kept beside the file, oldest first."""
    return sorted(path for path in file.parent.iterdir() if path.name.startswith(f"{file.name}.s3-mirror-backup-"))


def replace(file: Path, before: str, after: str, judge: Callable[[Path], None], *, is_removal: bool) -> list[str]:
    """Write the text in one step, keep one copy of what was, and return what the user has to know.

    `judge` may raise after a look at the candidate. Whatever is raised, the file is as it was and nothing is left.
    """
    target = file.resolve()
    if not os.access(str(target), os.W_OK):
        raise OSError(0, "it may not be written; run this as its owner")
    old = target.stat()
    candidate = target.with_name(f".{target.name}.s3-mirror-{os.getpid()}")
    backup = None
    try:
        write_new(candidate, after, like=old)
        shutil.copystat(str(target), str(candidate))  # rights, lists of rights and labels
        os.utime(str(candidate))
        judge(candidate)
        sentences = []
        if not is_removal or not backups_of(file):
            backup = file.with_name(f"{file.name}.s3-mirror-backup-{time.strftime('%Y%m%d-%H%M%S')}")
            write_new(backup, before, like=old)
        if text_of(target) != before:
            raise OSError(0, "it was changed by another program meanwhile; run this again")
        candidate.replace(target)
    finally:
        if candidate.exists():  # else it has become the file
            for left in filter(None, (candidate, backup)):
                with contextlib.suppress(OSError):
                    left.unlink()
    sync_folder(target.parent)
    sentences.append(f"{'The lines that setup added are gone from' if is_removal else 'Lines added to'} {file}")
    return sentences + told_backups(file, after)


def write_new(path: Path, text: str, *, like: os.stat_result) -> None:
    """Write a new file for its owner's eyes only. Raises OSError; never follows or overwrites what is there."""
    with os.fdopen(os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
        file.flush()
        if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(file.fileno(), like.st_uid, like.st_gid)
        os.fsync(file.fileno())


def told_backups(file: Path, text: str) -> list[str]:
    """Return what to say of the copies beside the file; one that holds the very same bytes is of no use and goes."""
    sentences = []
    for backup in backups_of(file):
        if text_of(backup) == text:
            backup.unlink()
            sentences.append("It is byte for byte what it was before the setup, so its backup is gone, too")
        else:
            sentences.append(f"Backup: {backup} (it holds your keys if you filled them in: delete it when all is well)")
    return sentences


def sync_folder(folder: Path) -> None:
    """Let the new name survive a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        number = os.open(str(folder), os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
