"""What all commands share: settings or an exit, and sentences for the user."""

from __future__ import annotations

import os
from typing import NoReturn

import typer

from frigate_s3_mirror.environment import Loaded, SettingsError, load
from frigate_s3_mirror.logs import logger, set_up
from frigate_s3_mirror.runtime.untrusted import single_line

EXIT_CONFIGURATION = 78
"""The settings are wrong: starting again without changing them is pointless (EX_CONFIG of sysexits.h)."""


def settings_or_exit(*, log: bool = False) -> Loaded:
    """The settings, or an exit with one sentence for each problem."""
    try:
        loaded = load(os.environ)
    except SettingsError as error:
        if log:
            set_up("info")
        for problem in error.problems:
            say(problem)
        raise typer.Exit(EXIT_CONFIGURATION) from error
    if log:
        set_up(loaded.settings.log_level, as_json=loaded.settings.log_format == "json")
    for warning in loaded.warnings:
        logger().warning("%s", warning) if log else say(warning)
    return loaded


def say(sentence: str) -> None:
    """A sentence for the user: a log line where the service logs, else plain on stderr."""
    if logger().handlers:
        logger().error("S3 snapshot mirror: %s", sentence)
    else:
        typer.echo(single_line(sentence), err=True)


def fail(sentence: str, status: int) -> NoReturn:
    """Say it and exit with this status."""
    say(sentence)
    raise typer.Exit(status)
