"""How the process lives and ends: one service for each state folder, and an end by signal or with its parent."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
import threading
from pathlib import Path

from frigate_s3_mirror import sign_of_life
from frigate_s3_mirror.ledger_file import LOCK_NAME, LedgerError
from frigate_s3_mirror.logs import flush, logger
from frigate_s3_mirror.state_folder import make_private_folder, tighten

ENDING = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGXCPU", "SIGPWR")
"""Signals that end the service in order: asked by a person, a container, a closed terminal, a limit, a power supply."""
IGNORED = ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGSTKFLT", "SIGPIPE")
"""Signals that mean nothing to the service and would end it by default; so would those for real-time use."""
_INSISTING = frozenset({signal.SIGTERM, signal.SIGINT})
"""A second one of these ends the process at once; a terminal that closes sends its signal more than once."""


class AlreadyRunningError(Exception):
    """Another mirror uses the same state folder; the text is a sentence for the user."""


class StateLock:
    """Held by the one service that may use a state folder; the kernel releases it, whatever ends the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None
        self._turn = threading.Lock()

    @property
    def is_held(self) -> bool:
        """Whether this process holds it."""
        return self._descriptor is not None

    def take(self) -> None:
        """Raises AlreadyRunningError or LedgerError with a sentence."""
        try:
            make_private_folder(self._folder)
            descriptor = os.open(self._folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            tighten(self._folder / LOCK_NAME)
        except OSError as error:
            raise LedgerError(
                f"The state folder {self._folder} cannot be written ({error.strerror}); S3_STATE_DIR chooses another."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise AlreadyRunningError(
                f"Another mirror already uses the state folder {self._folder}; stop it, or set another S3_STATE_DIR."
            ) from error
        self._descriptor = descriptor
        sign_of_life.make_room(descriptor)

    def say(self, sign: sign_of_life.SignOfLife) -> None:
        """Tell other processes how the holder does. Raises OSError."""
        with self._turn:  # a descriptor that was closed meanwhile may be another file's
            if self._descriptor is not None:
                sign_of_life.write(self._descriptor, sign)

    def release(self) -> None:
        """May be called twice."""
        with self._turn:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)


class End:
    """The wish that the service ends: one of the ENDING signals, the end of the parent, or `ask`."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._insisting: threading.Timer | None = None
        self._was_told = False
        """One of the signals came that, when it comes again, means at once."""

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

    def insist_after(self, seconds: float) -> None:
        """End the process this much later, whatever then still hangs: a disk, a thread, a log that nobody reads."""
        self._insisting = threading.Timer(seconds, _end_at_once)
        self._insisting.daemon = True
        self._insisting.start()

    def is_done(self) -> None:
        """All has ended in order; nobody needs to insist."""
        if self._insisting is not None:
            self._insisting.cancel()

    def listen(self) -> None:
        """Hear signals, and the pipe that the patch in Frigate's process holds open."""
        loop = asyncio.get_running_loop()
        for number in _numbers(ENDING):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish
                loop.add_signal_handler(number, self._signalled, number)
        for number in (*_numbers(IGNORED), *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)):
            signal.signal(number, signal.SIG_IGN)
        if os.environ.get("S3_MIRROR_PARENT_PIPE") == "1":
            loop.add_reader(sys.stdin.fileno(), self._parent_said)

    def look_for_parent(self) -> None:
        """A killed parent may leave its pipe to its other children: then another parent tells."""
        parent = os.environ.get("S3_MIRROR_PARENT_PID", "")
        if parent.isdigit() and os.getppid() != int(parent):
            self._parent_is_gone()

    def _signalled(self, number: int) -> None:
        """A second signal of a person or a container ends the process at once."""
        if self.is_near and number in _INSISTING and self._was_told:
            os._exit(130)
        self._was_told = self._was_told or number in _INSISTING
        self.ask()

    def _parent_said(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._parent_is_gone()

    def _parent_is_gone(self) -> None:
        if not self.is_near:
            logger().warning("S3 snapshot mirror: Frigate is gone")
        self.ask()


def _end_at_once() -> None:
    flush()
    os._exit(1)


def _numbers(names: tuple[str, ...]) -> list[signal.Signals]:
    """The signals of these names that this system has."""
    return [signal.Signals[name] for name in names if name in signal.Signals.__members__]
