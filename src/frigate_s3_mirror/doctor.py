"""`doctor`: runs every check, whatever the others say, and sums up. Knows the checks, not how they are shown."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from frigate_s3_mirror import __version__, alert_checks, api_checks, bucket_checks, local_checks, network_checks
from frigate_s3_mirror.clip_checks import check_recordings
from frigate_s3_mirror.environment import Loaded, SettingsError, load
from frigate_s3_mirror.events import FrigateError
from frigate_s3_mirror.finding import Finding, Verdict, failed, ok, skipped, warning
from frigate_s3_mirror.frigate_access import access
from frigate_s3_mirror.frigate_api import ApiError, FrigateApi
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.settings import Settings

EXIT_FINE, EXIT_FAILED, EXIT_CONFIGURATION = 0, 1, 78
_PLACES = ("FRIGATE_DB_PATH", "FRIGATE_CLIPS_DIR", "S3_STATE_DIR", "FRIGATE_SOURCE", "FRIGATE_URL", "FRIGATE_USER", "FRIGATE_PASSWORD",
           "FRIGATE_TOKEN", "FRIGATE_TLS_VERIFY")  # fmt: skip
_STATE = ("state folder", "text state")
LOCAL = ("database", "clips folder", "inotify", *_STATE)
OVER_HTTP = (*api_checks.NAMES, *_STATE)
"""The same with FRIGATE_SOURCE=api."""
REMOTE = (*network_checks.Stage, *bucket_checks.NAMES)
ALERTS = alert_checks.NAMES
"""Names of the checks after `settings`, in their order."""
_SHORTEST_SECRET = 6  # characters; hiding shorter ones would only tear words apart

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Report:
    """All findings of one run, in the order of the checks."""

    findings: tuple[Finding, ...]
    object_key: str | None
    """The key that was written, None when nothing was."""

    @property
    def exit_status(self) -> int:
        """0 when nothing failed, 78 when settings are wrong, else 1."""
        wrong = [finding.name for finding in self.findings if finding.verdict is Verdict.FAILED]
        if "settings" in wrong:
            return EXIT_CONFIGURATION
        return EXIT_FAILED if wrong else EXIT_FINE

    @property
    def next_step(self) -> str:
        """A sentence about what to do now."""
        bad = [finding for finding in self.findings if finding.verdict is Verdict.FAILED]
        if self.exit_status == EXIT_CONFIGURATION:
            return "Correct the settings first, then run the doctor again."
        if len(bad) == 1:
            return f"One check failed: {bad[0].name}. Do what its arrow says, then run the doctor again."
        if bad:
            return f"{len(bad)} checks failed. Begin with {bad[0].name}, then run the doctor again."
        if any(finding.verdict is Verdict.WARNING for finding in self.findings):
            return "The mirror can work; see the warnings. `run` starts it, `status` shows it at work."
        return "All is well. `run` starts the mirror, `status` shows it at work."

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values; docs/doctor.md describes them."""
        counts = Counter(finding.verdict for finding in self.findings)
        return {
            "version": __version__,
            "exit_status": self.exit_status,
            "counts": {verdict.value: counts[verdict] for verdict in Verdict},
            "object_key": self.object_key,
            "checks": [
                {"name": str(f.name), "verdict": f.verdict.value, "seen": f.seen, "fix": f.fix or None}
                for f in self.findings
            ],
            "next": self.next_step,
        }


class Doctor:
    """One examination of the environment it is given. `findings` yields each one as soon as it is known."""

    def __init__(self, environ: MutableMapping[str, str], now: Clock = time.time, *, send_test: bool = False) -> None:
        """`now` tells unix seconds. With `send_test`, real messages go out to whom the settings name."""
        self._environ = environ
        self._now = now
        self._send_test = send_test
        self._object_key: str | None = None
        self._secrets: tuple[str, ...] = ()

    def findings(self) -> Iterator[Finding]:
        """Run the checks, one after the other; writes the small object unless something that it needs failed."""
        for finding in self._examine():
            yield _without_secrets(finding, self._secrets)

    def report(self, findings: Sequence[Finding]) -> Report:
        """Sum up what `findings` yielded."""
        return Report(tuple(findings), self._object_key)

    def _examine(self) -> Iterator[Finding]:
        try:
            loaded = load(self._environ)
        except SettingsError as error:
            for problem in error.problems:
                yield failed("settings", problem, "Correct the variable; docs/settings.md lists them all.")
            folders = folders_of(self._environ)
            if folders is None:
                is_api = self._environ.get("FRIGATE_SOURCE") == "api"
                yield from (skipped(name, "Needs settings.") for name in (OVER_HTTP if is_api else LOCAL))
            else:
                yield from self._local(folders)
            yield from (skipped(name, "Needs settings.") for name in REMOTE)
            return
        settings = loaded.settings
        self._secrets = _secrets_of(settings)
        yield from judge_settings(loaded)
        yield from _guarded("frigate", self._local(settings))
        yield from _guarded("bucket", self._remote(settings))
        yield from _guarded("recordings", self._optional(settings))
        yield from _guarded("notifications", alert_checks.check_alerts(settings, send=self._send_test))

    def _optional(self, settings: Settings) -> Iterator[Finding]:
        if settings.has_clips and settings.frigate_source == "disk":
            yield check_recordings(settings, self._now())
        if settings.live:
            yield check_live(settings)

    def _local(self, settings: Settings) -> Iterator[Finding]:
        if settings.frigate_source == "api":
            yield from api_checks.check_api(settings, self._now())
            yield _check_state(settings.ledger_dir)
            yield local_checks.check_text_state(settings.text_state_dir)
            return
        seen: local_checks.DatabaseSeen | FrigateError
        try:
            seen = local_checks.look_at_database(settings, self._now())
        except FrigateError as error:
            seen = error
        is_filtered = bool(settings.cameras or settings.labels)
        yield local_checks.judge_database(settings.db_path, seen, self._now(), is_filtered=is_filtered)
        sample, oldest = ((), ()) if isinstance(seen, FrigateError) else (seen.sample, seen.oldest)
        clips = settings.clips_dir
        clips_seen = local_checks.look_at_clips(clips, sample, oldest, access(settings).clips_folder)
        yield local_checks.judge_clips(clips, clips_seen)
        has_clips = clips_seen.problem is None
        yield local_checks.check_inotify(clips) if has_clips else skipped("inotify", "Needs clips folder.")
        yield _check_state(settings.ledger_dir)
        if has_clips or settings.state_dir is not None:
            yield local_checks.check_text_state(settings.text_state_dir)
        else:
            yield skipped("text state", "Needs clips folder.")

    def _remote(self, settings: Settings) -> Iterator[Finding]:
        endpoint = network_checks.endpoint_of(settings)
        if endpoint.proxy is not None:
            seen = network_checks.Reach()
        else:
            seen = network_checks.reach(endpoint, settings.ca_bundle)
        if seen.is_sent_elsewhere and bucket_checks.speaks_s3(settings):
            seen = replace(seen, is_of_s3=True)
        way = network_checks.judge_way(endpoint, seen, self._now(), has_bundle=settings.ca_bundle is not None)
        yield from way
        if not network_checks.is_reachable(seen):
            culprit = next(finding.name for finding in way if finding.verdict is Verdict.FAILED)
            yield from (skipped(name, f"Needs {culprit}.") for name in bucket_checks.NAMES)
            return
        try:
            trial = self._try_bucket(settings, seen)
        except StoreError as error:
            fix = "Correct the S3_* settings; docs/settings.md lists them all."
            yield failed(bucket_checks.NAMES[0], str(error), fix)
            yield from (skipped(name, f"Needs {bucket_checks.NAMES[0]}.") for name in bucket_checks.NAMES[1:])
            return
        if trial.error is None:
            self._object_key = trial.key
        yield from bucket_checks.judge_bucket(settings, trial, seen.bucket_region)

    def _try_bucket(self, settings: Settings, seen: network_checks.Reach) -> bucket_checks.Trial:
        """Raises StoreError when there can be no client."""
        if seen.status == 301:  # and it is S3 that says so: nothing can be put there, and one cross is enough
            refusal = bucket_checks.redirected(seen.bucket_region)
            return bucket_checks.Trial(bucket_checks.key_of(settings), b"", (), listing=refusal)
        return bucket_checks.try_bucket(settings, self._environ, self._now())


def _guarded(name: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings; a check that breaks down is a finding, too, and takes none of the later ones along."""
    try:
        yield from findings
    except Exception as error:  # noqa: BLE001  # whatever it is, the person who asked gets a report
        yield failed(
            name,
            f"A check broke down ({type(error).__name__} in {_place_of(error)}), so that the ones after it are missing.",
            "Report this line, with the mirror's version, to its developers.",
        )


def _place_of(error: Exception) -> str:
    """Where it happened; the error's own text may hold a secret."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def _check_state(folder: Path) -> Finding:
    state = local_checks.look_at_state(folder)
    return local_checks.judge_state(folder, state, local_checks.filesystem_type(folder))


def check_live(settings: Settings) -> Finding:
    """Whether Frigate's API answers; final snapshots do not need it."""
    try:
        version = FrigateApi(
            settings
        ).version()  # any web server has no picture of an event; only Frigate has a version
    except ApiError as error:
        if "refuses" in str(error):
            return replace(api_checks.refusal("live pictures", settings, error), verdict=Verdict.WARNING)
        fix = "Start Frigate, or correct FRIGATE_URL; docs/live.md tells which address is right."
        return warning("live pictures", str(error), fix)
    return ok("live pictures", f"Frigate's API at {settings.frigate_url} answers, Frigate {version[0]}.{version[1]}.")


def judge_settings(loaded: Loaded) -> list[Finding]:
    """Valid settings: a warning for each odd variable, or one line of praise."""
    if loaded.warnings:
        return [warning("settings", text, "Correct or remove the variable.") for text in loaded.warnings]
    given = sum(origin != "default" for origin in loaded.origins.values())
    preset = loaded.settings.preset.name
    return [ok("settings", f"Valid; {given} are set, the others have their defaults. Server preset: {preset}.")]


def folders_of(environ: Mapping[str, str]) -> Settings | None:
    """Settings that have only the folders right, for the checks that need no others; None when those are wrong."""
    names = {name + ending for name in _PLACES for ending in ("", "_FILE")}
    try:
        return load({"S3_BUCKET": "none", **{name: environ[name] for name in names if name in environ}}).settings
    except SettingsError:
        return None


def _secrets_of(settings: Settings) -> tuple[str, ...]:
    """All that must be in no line, the longest first: one may be a part of another."""
    values = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    parts = {part for value in values for part in (value, *value.split()) if len(part) >= _SHORTEST_SECRET}
    return tuple(sorted(parts, key=len, reverse=True))


def _without_secrets(finding: Finding, secrets: Sequence[str]) -> Finding:
    """No sentence of ours holds a secret; this is for servers that would send one back in a message."""
    seen, fix = finding.seen, finding.fix
    for secret in secrets:
        seen, fix = seen.replace(secret, "***"), fix.replace(secret, "***")
    return replace(finding, seen=seen, fix=fix)
