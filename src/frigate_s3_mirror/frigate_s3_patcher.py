"""The guest in Frigate's main process: starts the mirror as a child, passes its lines on, and ends it with Frigate.

It owns the import hook, one thread and one child process, and knows nothing of S3. Standard library only, Python 3.9
to 3.14, and no import of ours: it is loaded by its path, and the mirror's packages stay out of Frigate's process.
Frigate must not notice it: its own methods run first, only `Exception` is caught (a SystemExit in the main thread is
Frigate's own, raised by its signal handler), and no signal handler, file or module of Frigate's is touched.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

OLDEST_PYTHON = (3, 11)
"""What the service needs; Frigate 0.13 to 0.15 bring Python 3.9."""
EXIT_CONFIGURATION = 78
"""The service's exit status for wrong settings: starting it again would change nothing."""
FIRST_DELAY = 1.0
LONGEST_DELAY = 300.0
"""A mirror that cannot live is tried at this interval: often enough to recover by itself, too rarely to be felt."""
STABLE_SECONDS = 60.0
"""A run of this length ends a series of deaths."""
CRASH_LOOP = 5
"""Deaths in a row after which no more is said of each."""
DEFAULT_GRACE = 8.0
EXTRA_GRACE = 2.0
"""The child keeps to its grace by itself; this much later it is killed."""
FORK_PATIENCE = 0.5
"""The longest that a fork of Frigate's waits for a start of the child that is under way (it takes milliseconds)."""
MOST_HELD_LINES = 200
LONGEST_LINE = 65536
MAIN_PROCESS = os.getpid()


def install() -> None:
    """Hook the import of `frigate.app`, or say in one line why not."""
    if "--validate-config" in sys.argv:
        return
    try:
        reason = why_not(os.environ, sys.version_info[:2])
        if reason:
            say("INFO", f"S3 snapshot mirror not started: {reason}")
        else:
            sys.meta_path.insert(0, AppFinder())
    except Exception as error:  # noqa: BLE001  # Frigate starts whatever is wrong here
        say("ERROR", f"S3 snapshot mirror not started: {error!r}")


def why_not(environ: Mapping[str, str], version: tuple[int, int]) -> str:
    """The reason why nothing is patched, or an empty string."""
    if not any(environ.get(name, "").strip() for name in ("S3_BUCKET", "S3_BUCKET_FILE")):
        return "S3_BUCKET is not set"
    if version < OLDEST_PYTHON:
        return "this Frigate's Python {}.{} is too old for it (3.11 is needed); use the sidecar instead".format(
            *version
        )
    return ""


def say(level: str, message: str) -> None:
    """Write one line in Frigate's log format."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    write(f"[{stamp}] {'frigate_s3_mirror':30} {level:8}: {message}\n".encode("utf-8", "replace"))


def write(lines: bytes) -> None:
    """Write to stdout, which s6 logs, past sys.stdout: a thread that holds its lock at exit would abort the process."""
    if sys.__stdout__ is None:  # started without stdout: descriptor 1 may be any file
        return
    with contextlib.suppress(OSError):  # nobody reads
        while lines:
            lines = lines[os.write(1, lines) :]


def guarded(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function of ours safe to call from Frigate's code."""

    @functools.wraps(function)
    def call(*args: Any) -> None:
        try:
            function(*args)
        except Exception as error:  # noqa: BLE001  # the outermost frame of ours in Frigate's code
            say("ERROR", f"S3 snapshot mirror: {function.__name__} failed: {error!r}")

    return call


# -- the patch ---------------------------------------------------------------------------------------------------------


class AppFinder:
    """A meta path finder that lets the others find `frigate.app`, once, and patches the module after it has run."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "frigate.app":
            return None
        sys.meta_path.remove(self)
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None:
            patch_when_loaded(spec)
        return spec


@guarded
def patch_when_loaded(spec: Any) -> None:
    """Every spec has a loader object of its own: one method is covered on it, and uncovered when it has run."""
    loader, original = spec.loader, spec.loader.exec_module

    def exec_module(module: Any) -> None:
        del loader.exec_module
        original(module)
        patch(module)

    loader.exec_module = exec_module


@guarded
def patch(module: Any) -> None:
    """Wrap the two methods of FrigateApp that every version from 0.12 to 0.18 has."""
    app: Any = getattr(module, "FrigateApp", None)
    start, stop = getattr(app, "start_event_processor", None), getattr(app, "stop", None)
    if not callable(start) or not callable(stop):
        missing = "stop" if callable(start) else "start_event_processor"
        reason = f"this version of Frigate is unknown to it (FrigateApp has no {missing}); use the sidecar instead"
        say("ERROR", f"S3 snapshot mirror not started: {reason}")
        return

    @functools.wraps(start)
    def start_event_processor(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = start(self, *args, **kwargs)
        start_mirror(self)
        return result

    @functools.wraps(stop)
    def stop_with_mirror(self: Any, *args: Any, **kwargs: Any) -> Any:
        # 0.14 to 0.16 end the process inside of stop: the mirror is told before, and ends while Frigate does.
        ask_mirror_to_stop()
        try:
            return stop(self, *args, **kwargs)
        finally:
            wait_for_mirror()

    app.start_event_processor, app.stop = start_event_processor, stop_with_mirror


_supervisors: list[Supervisor] = []
"""The one supervisor, once there is one."""


@guarded
def start_mirror(app: Any) -> None:
    """Start the mirror of this app, once, in Frigate's main process."""
    if not _supervisors and os.getpid() == MAIN_PROCESS:
        lib = str(Path(__file__).absolute().parents[1])
        supervisor = Supervisor(command_for(lib), environment_for(lib, app), grace_from(os.environ))
        _supervisors.append(supervisor)
        supervisor.start()


@guarded
def ask_mirror_to_stop() -> None:
    """Pass Frigate's stop on to the mirror, and return at once."""
    for supervisor in _supervisors:
        supervisor.ask_to_stop()


@guarded
def wait_for_mirror() -> None:
    """Return when the mirror is gone."""
    for supervisor in _supervisors:
        supervisor.finish()


# -- what the child gets -----------------------------------------------------------------------------------------------


def command_for(lib: str) -> list[str]:
    """The service's command. A folder that brings all of its packages needs none of the interpreter's (-S)."""
    alone = lib not in sys.path and (Path(lib) / "pydantic").is_dir()
    return [sys.executable, *(["-S"] if alone else []), "-m", "frigate_s3_mirror", "run"]


def environment_for(lib: str, app: Any) -> dict[str, str]:
    """Frigate's environment with a module path of its own, and Frigate's paths unless the user gave others."""
    dropped = ("PYTHONPATH", "S3_MIRROR_INIT", "S3_MIRROR_LIB")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if lib not in sys.path or lib in given:  # else it is installed, and the interpreter finds it by itself
        environment["PYTHONPATH"] = lib
    for name, find in (("FRIGATE_DB_PATH", database_path), ("FRIGATE_CLIPS_DIR", clips_folder)):
        if not environment.get(name) and not environment.get(name + "_FILE"):
            try:
                environment[name] = str(Path(find(app)).absolute())
            except Exception:  # noqa: BLE001  # this Frigate keeps it elsewhere: the service has a default
                environment.pop(name, None)
    environment.update(dict.fromkeys(("PYTHONNOUSERSITE", "PYTHONSAFEPATH", "PYTHONUNBUFFERED"), "1"))
    environment.update(S3_MIRROR_PARENT_PIPE="1", S3_MIRROR_PARENT_PID=str(os.getpid()))
    return environment


def database_path(app: Any) -> str:
    """Frigate's database, from the configuration that it runs with."""
    return str(app.config.database.path)


def clips_folder(_app: Any) -> str:
    """Frigate's clips folder, a constant of this version."""
    return str(importlib.import_module("frigate.const").CLIPS_DIR)


def grace_from(environ: Mapping[str, str]) -> float:
    """How long the child may take to stop; a value that is not understood is told by the service."""
    text = environ.get("S3_SHUTDOWN_GRACE", "").strip().lower()
    for unit, seconds in (("ms", 0.001), ("sec", 1.0), ("min", 60.0), ("s", 1.0), ("m", 60.0), ("", 1.0)):
        if text.endswith(unit):
            try:
                return min(max(0.0, float(text[: len(text) - len(unit)]) * seconds), 600.0) + EXTRA_GRACE
            except ValueError:
                break
    return DEFAULT_GRACE + EXTRA_GRACE


# -- the child ---------------------------------------------------------------------------------------------------------


class Supervisor:
    """One child, and the one thread that starts it, passes its lines on and starts it again when it dies."""

    def __init__(
        self, command: list[str], environment: dict[str, str], grace: float, first_delay: float = FIRST_DELAY
    ) -> None:
        self._command, self._environment = command, environment
        self._grace, self._first_delay = grace, first_delay
        self._stopping = threading.Event()
        self._kill_at = 0.0
        self._child: subprocess.Popen[bytes] | None = None
        self._complaint = ""
        self._starting = threading.RLock()
        self._thread = threading.Thread(target=self._run, name="frigate_s3_mirror", daemon=True)

    def start(self) -> None:
        """Begin; the calling thread does no more than start another."""
        # Frigate's forked children would hold our ends of the child's pipes open: it would never see that Frigate died.
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._after_fork_in_child
        )
        atexit.register(wait_for_mirror)  # for an end without a stop
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Tell the child to stop, and return at once."""
        if os.getpid() != MAIN_PROCESS or self._stopping.is_set():
            return
        self._kill_at = time.monotonic() + self._grace
        self._stopping.set()
        if self._starting.acquire(timeout=FORK_PATIENCE):  # a start under way looks at `_stopping` by itself
            try:
                if self._child is not None:
                    self._child.terminate()
            finally:
                self._starting.release()

    def finish(self) -> None:
        """Return when the child has ended; what is left of it after the grace is killed."""
        if os.getpid() != MAIN_PROCESS:
            return
        self.ask_to_stop()
        self._thread.join(max(0.0, self._kill_at - time.monotonic()))
        if self._thread.is_alive() and self._child is not None:
            self._child.kill()
            self._thread.join(1.0)

    def _run(self) -> None:
        deaths = 0
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                ending = self._live(quiet=deaths >= CRASH_LOOP or self._complaint != "")
                if self._stopping.is_set() or ending is None:
                    return
                deaths = 1 if time.monotonic() - began >= STABLE_SECONDS else deaths + 1
                delay = min(self._first_delay * 2.0 ** min(deaths - 1, 20), LONGEST_DELAY)
                if not self._complaint:
                    self._tell(ending, deaths, delay)
                self._stopping.wait(delay)
        except BaseException as error:  # noqa: BLE001  # the outermost frame of the thread
            say("ERROR", f"S3 snapshot mirror ended: {error!r}")

    def _live(self, *, quiet: bool) -> str | None:
        """One life of the child; returns how it ended, or None when it should not live again."""
        try:
            child = self._spawn()
        except OSError as error:
            return f"could not be started ({error.strerror})"
        if child is None or child.stdin is None or child.stdout is None:
            return None
        if not quiet:
            say("INFO", f"S3 snapshot mirror started (pid {child.pid})")
        import_error = pass_on(child.stdout.fileno())
        status = child.wait()
        child.stdin.close()
        child.stdout.close()
        if status == EXIT_CONFIGURATION and not self._stopping.is_set():
            say("ERROR", "S3 snapshot mirror not started: its settings are wrong (see above); Frigate runs without it")
            return None
        if import_error and import_error != self._complaint:
            say("ERROR", f"Failed to import S3 modules: {import_error}; run setup_s3_mirror.sh and restart Frigate")
        self._complaint = import_error
        return f"ended with signal {-status}" if status < 0 else f"ended with exit status {status}"

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        with self._starting:
            if self._stopping.is_set():
                return None
            self._child = subprocess.Popen(
                self._command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=self._environment,
                start_new_session=True,  # a Ctrl-C in Frigate's terminal is Frigate's; we stop the child
            )
        if self._stopping.is_set():
            self._child.terminate()
        return self._child

    def _tell(self, ending: str, deaths: int, delay: float) -> None:
        if deaths < CRASH_LOOP:
            say("WARNING", f"S3 snapshot mirror {ending}; starting it again in {delay:g} s")
        elif deaths == CRASH_LOOP:
            say(
                "ERROR",
                f"S3 snapshot mirror {ending}, {deaths} times in a row; it is tried again ever more rarely, "
                f"at last every {LONGEST_DELAY:g} s, and Frigate runs without it",
            )

    def _before_fork(self) -> None:
        """A fork in the middle of a start would inherit pipes that nobody knows of yet."""
        self._starting.acquire(timeout=FORK_PATIENCE)

    def _after_fork(self) -> None:
        with contextlib.suppress(RuntimeError):  # the patience was over
            self._starting.release()

    def _after_fork_in_child(self) -> None:
        self._starting = threading.RLock()
        for pipe in (self._child.stdin, self._child.stdout) if self._child is not None else ():
            if pipe is not None:
                pipe.close()


def pass_on(descriptor: int) -> str:
    """Pass lines on to Frigate's log until the child closes its end; returns what a failed import said.

    What comes before the first line of a log (in Frigate's format, or JSON) is held back: for a child that cannot even import its
    packages, one line tells more than a traceback.
    """
    rest = b""
    held: list[bytes] = []
    speaks = False
    while True:
        chunk = os.read(descriptor, LONGEST_LINE)
        *lines, rest = (rest + chunk).split(b"\n")
        if rest and (not chunk or len(rest) > LONGEST_LINE):
            lines, rest = [*lines, rest], b""
        for line in lines:
            speaks = speaks or line.startswith((b"[", b"{")) or len(held) >= MOST_HELD_LINES
            held.append(line + b"\n")
        last = held[-1] if held else b""
        if not chunk and not speaks and (last.startswith(b"ImportError: ") or b": No module named " in last):
            return last.decode("utf-8", "replace").split(": ", 1)[1].strip()
        if speaks or not chunk:
            write(b"".join(held))
            held = []
        if not chunk:
            return ""
