"""The mirror as a Home Assistant add-on: options and broker become its environment, then it takes this process's place.

`python -m frigate_s3_mirror.addon [COMMAND ...]` runs any command of the mirror so, `run` without one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import urllib3
from pydantic import ValidationError

from frigate_s3_mirror.addon_options import (
    Broker,
    OptionsError,
    environment_of,
    names_broker,
    variables_of,
    with_option,
)
from frigate_s3_mirror.command_line import EXIT_CONFIGURATION, say
from frigate_s3_mirror.environment import SettingsError, load
from frigate_s3_mirror.logs import flush, logger, set_up
from frigate_s3_mirror.setting_rules import reason

DATA = Path("/data")
SUPERVISOR = "http://supervisor"
_TOKENS = ("SUPERVISOR_TOKEN", "HASSIO_TOKEN")
"""The key to the Supervisor, by its name and its old name: the mirror has no use for it and does not get it."""


class NoBrokerError(Exception):
    """Home Assistant names no MQTT broker; the text says why."""


def main() -> None:
    """Entry point of the container."""
    start(sys.argv[1:] or ["run"], os.environ, DATA, SUPERVISOR)


def start(arguments: Sequence[str], environ: Mapping[str, str], data: Path, supervisor: str) -> NoReturn:
    """Become the mirror with these arguments, or exit with 78 and a sentence for each thing that is wrong."""
    as_service = arguments[0] == "run"
    try:
        options = read_options(data / "options.json")
        broker, news = _broker(options, environ, supervisor)
        base = {name: value for name, value in environ.items() if name not in _TOKENS}
        made = environment_of(options, broker, base, data / "mirror")
        settings = load(made).settings
    except (OptionsError, SettingsError) as error:
        _end(error, as_service=as_service)
    if as_service:
        set_up(settings.log_level, as_json=settings.log_format == "json")
    logger().info("S3 snapshot mirror: %s", news)
    flush()
    # In place of this process: it keeps the process id to which the container's signals go.
    os.execve(sys.executable, [sys.executable, "-m", "frigate_s3_mirror", *arguments], made)  # noqa: S606


def read_options(path: Path) -> dict[str, object]:
    """What the user chose in Home Assistant. Raises OptionsError."""
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise OptionsError([f"The options in {path} cannot be read ({reason(error)})."]) from error
    except ValueError as error:
        raise OptionsError([f"The options in {path} are not JSON."]) from error
    if not isinstance(options, dict):
        raise OptionsError([f"The options in {path} are not a JSON object."])
    return options


def broker_of_home_assistant(supervisor: str, token: str | None) -> Broker:
    """The broker of Home Assistant's MQTT service. Raises NoBrokerError.

    An add-on that wants the service may ask without `hassio_api`:
    https://developers.home-assistant.io/docs/apps/communication
    """
    if not token:
        raise NoBrokerError("this container has no SUPERVISOR_TOKEN")
    headers = {"Authorization": f"Bearer {token}"}
    try:
        answer = urllib3.request("GET", f"{supervisor}/services/mqtt", headers=headers, timeout=10.0, retries=False)
        content = answer.json()
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise NoBrokerError(f"the Supervisor gave no answer, {type(error).__name__}") from error
    if answer.status != 200 or not isinstance(content, dict):
        told = content.get("message") if isinstance(content, dict) else None
        raise NoBrokerError(f"the Supervisor says {told or answer.status}")
    try:
        return Broker.model_validate(content.get("data"))
    except ValidationError as error:
        raise NoBrokerError("the Supervisor's answer names none") from error


def _broker(options: Mapping[str, object], environ: Mapping[str, str], supervisor: str) -> tuple[Broker | None, str]:
    """The broker if the user left it to Home Assistant, and a line for the log about it."""
    if names_broker(variables_of(options)):
        return None, "MQTT as the options say"
    try:
        broker = broker_of_home_assistant(supervisor, environ.get("SUPERVISOR_TOKEN"))
    except NoBrokerError as error:
        return None, f"goes on without MQTT: {error}"
    return broker, f"MQTT by Home Assistant's broker {broker.url}"


def _end(error: OptionsError | SettingsError, *, as_service: bool) -> NoReturn:
    if as_service:
        set_up("info")
    for problem in error.problems:
        say(with_option(problem) if isinstance(error, SettingsError) else problem)
    sys.exit(EXIT_CONFIGURATION)


if __name__ == "__main__":
    main()
