"""How the process lives and ends: one service for each state folder, and an end by signal or with its parent."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from pathlib import Path
from typing import IO

from frigate_s3_mirror.ledger_file import LOCK_NAME, LedgerError
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.state_folder import make_private_file, make_private_folder


class AlreadyRunningError(Exception):
    """Another mirror uses the same state folder; the text is a sentence for the user."""


class StateLock:
    """Held by the one service that may use a state folder; the kernel releases it, whatever ends the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[str] | None = None

    @property
    def is_held(self) -> bool:
        """Whether this process holds it."""
        return self._file is not None

    def take(self) -> None:
        """Raises AlreadyRunningError or LedgerError with a sentence."""
        try:
            make_private_folder(self._folder)
            make_private_file(self._folder / LOCK_NAME)
            file = (self._folder / LOCK_NAME).open("a+", encoding="utf-8")
        except OSError as error:
            raise LedgerError(
                f"The state folder {self._folder} cannot be written ({error.strerror}); S3_STATE_DIR chooses another."
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise AlreadyRunningError(
                f"Another mirror already uses the state folder {self._folder}; stop it, or set another S3_STATE_DIR."
            ) from error
        self._file = file

    def release(self) -> None:
        """May be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None


class End:
    """The wish that the service ends: SIGTERM, SIGINT, the end of the parent, or `ask`."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    @property
    def is_near(self) -> bool:
        """Whether someone asked."""
        return self._asked.is_set()

    async def wait(self) -> None:
        """Return once someone asked."""
        await self._asked.wait()

    def ask(self) -> None:
        """Ask for an orderly end."""
        self._asked.set()

    def listen(self) -> None:
        """Hear signals, and the pipe that the patch in Frigate's process holds open."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._signalled)
        if os.environ.get("S3_MIRROR_PARENT_PIPE") == "1":
            loop.add_reader(sys.stdin.fileno(), self._parent_said)

    def look_for_parent(self) -> None:
        """A killed parent may leave its pipe to its other children: then another parent tells."""
        parent = os.environ.get("S3_MIRROR_PARENT_PID", "")
        if parent.isdigit() and os.getppid() != int(parent):
            self._parent_is_gone()

    def _signalled(self) -> None:
        """The second signal ends the process at once."""
        if self.is_near:
            os._exit(130)
        self.ask()

    def _parent_said(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._parent_is_gone()

    def _parent_is_gone(self) -> None:
        if not self.is_near:
            logger().warning("S3 snapshot mirror: Frigate is gone")
        self.ask()
