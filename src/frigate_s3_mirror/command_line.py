"""What all commands share: settings or an exit, and sentences for the user."""

from __future__ import annotations

import os
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from frigate_s3_mirror.environment import Loaded, SettingsError, load
from frigate_s3_mirror.logs import logger, set_up
from frigate_s3_mirror.runtime.untrusted import single_line

EXIT_CONFIGURATION = 78
"""The settings are wrong: starting again without changing them is pointless (EX_CONFIG of sysexits.h)."""


class Commands(TyperGroup):
    """The program's commands; their help shows no type behind a flag, which takes no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Give the options of the program itself."""
        return _without_types(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Give one command."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _without_types(command.get_params(ctx))
        return command


def _without_types(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.display_type_rich = lambda ctx: None  # typer 0.29 writes <bool>
    return parameters


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
