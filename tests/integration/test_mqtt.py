"""The running service and a real MQTT broker: what Home Assistant sees, and that no broker ever holds up an upload."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker import PASSWORD, PROGRAM, Broker, Home, home_of, mosquitto
from conftest import MakeMirror, RunningMirror, ended
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from servers import Target

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed (apt install mosquitto)")

DISCOVERY = "homeassistant/device/frigate_s3_mirror_test_home/config"
STATE = "frigate-s3-mirror/test_home/state"
RETRY = "frigate-s3-mirror/test_home/retry"
# What Home Assistant's documentation calls required, and the values that it knows of what we use; from
# https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
# https://www.home-assistant.io/integrations/{sensor,binary_sensor,button}.mqtt/
# https://www.home-assistant.io/integrations/sensor/#device-class
REQUIRED_OF_ALL = {"platform", "unique_id"}
REQUIRED = {"sensor": {"state_topic"}, "binary_sensor": {"state_topic"}, "button": {"command_topic"}}
KNOWN = {
    "sensor": {
        "platform", "unique_id", "name", "icon", "state_topic", "value_template", "device_class", "state_class", "options",
        "unit_of_measurement", "json_attributes_topic", "json_attributes_template", "entity_category",
    },
    "binary_sensor": {
        "platform", "unique_id", "name", "icon", "state_topic", "value_template", "device_class", "payload_on", "payload_off",
    },
    "button": {"platform", "unique_id", "name", "icon", "command_topic", "payload_press", "device_class", "entity_category"},
}  # fmt: skip
DEVICE_CLASSES = {"sensor": {"enum", "duration", "timestamp"}, "binary_sensor": {"problem"}}
STATE_CLASSES = {"measurement", "total", "total_increasing"}
DURATIONS = {"d", "h", "min", "s", "ms"}


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("yard",)) as simulated:
        yield simulated


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto(tmp_path / "broker") as started:
        yield started


@pytest.fixture
def home(broker: Broker) -> Iterator[Home]:
    with home_of(broker) as connected:
        yield connected


def is_well(home: Home) -> bool:
    return home.availability() == "online" and home.state().get("health") == "OK"


def mqtt_lines(mirror: RunningMirror) -> list[str]:
    return [line for line in mirror.log().splitlines() if "MQTT" in line]


def violations(part: dict[str, Any]) -> list[str]:
    """Against the tables above."""
    platform = part.get("platform", "")
    if platform not in KNOWN:
        return [f"platform {platform}"]
    found = [f"missing {key}" for key in (REQUIRED_OF_ALL | REQUIRED[platform]) - set(part)]
    found += [f"unknown {key}" for key in set(part) - KNOWN[platform]]
    device_class = part.get("device_class")
    if device_class is not None and device_class not in DEVICE_CLASSES.get(platform, set()):
        found.append(f"device class {device_class}")
    if device_class == "enum" and ("state_class" in part or "unit_of_measurement" in part or not part.get("options")):
        found.append("an enum has options, and neither unit nor state class")
    if device_class == "timestamp" and ("state_class" in part or "unit_of_measurement" in part):
        found.append("a timestamp has neither unit nor state class")
    if device_class == "duration" and part.get("unit_of_measurement") not in DURATIONS:
        found.append("a duration has a unit of time")
    if "options" in part and device_class != "enum":
        found.append("only an enum has options")
    if part.get("state_class", "total") not in STATE_CLASSES:
        found.append(f"state class {part['state_class']}")
    found += [f"topic {v}" for k, v in part.items() if k.endswith("_topic") and not re.fullmatch(r"[\w/-]+", v)]
    return found


def test_one_device_appears_with_all_that_home_assistant_wants_to_know(
    rclone: Target, frigate: SimulatedFrigate, broker: Broker, mirror_for: MakeMirror
) -> None:
    """Discovery is valid and retained, the state is true and retained, and after SIGTERM the device is offline."""
    mirror = mirror_for(frigate, rclone, **broker.environment())
    process = mirror.start()
    with home_of(broker) as home:
        mirror.wait_for(lambda: is_well(home))
        ended(frigate, 3)
        mirror.wait_for(lambda: home.state()["uploads_today"] == 3)
        state = home.state()
        assert (state["missing_24h"], state["backlog"], state["failed"], state["expired"]) == (0, 0, 0, 0)
        assert state["last_upload_key"] in rclone.objects()
        assert state["problem"] == "OFF"
    with home_of(broker) as late:
        mirror.wait_for(lambda: {DISCOVERY, STATE} <= late.retained and late.availability() == "online")
        told = json.loads(late.newest[DISCOVERY])
        assert mirror.stop(process) == 0
        mirror.wait_for(lambda: late.availability() == "offline")
    assert {"device", "origin", "components"} <= set(told)
    assert told["device"]["identifiers"]
    assert told["origin"]["name"]
    assert told["availability_topic"] == "frigate-s3-mirror/test_home/availability"
    assert {name: bad for name, part in told["components"].items() if (bad := violations(part))} == {}
    assert len(mqtt_lines(mirror)) == 1, mirror.log()
    assert PASSWORD not in mirror.log()


def test_home_assistant_that_starts_anew_is_introduced_again(
    rclone: Target, frigate: SimulatedFrigate, broker: Broker, home: Home, mirror_for: MakeMirror
) -> None:
    """Its birth message brings discovery and state once more; an old last will that comes late is corrected."""
    mirror = mirror_for(frigate, rclone, **broker.environment())
    mirror.start()
    mirror.wait_for(lambda: is_well(home))
    before = dict(home.count)
    home.say("homeassistant/status", "online")
    mirror.wait_for(lambda: home.count[DISCOVERY] > before[DISCOVERY] and home.count[STATE] > before[STATE])
    home.say("frigate-s3-mirror/test_home/availability", "offline", retain=True)
    mirror.wait_for(lambda: home.availability() == "online")


def test_a_killed_mirror_is_offline_by_its_last_will(
    rclone: Target, frigate: SimulatedFrigate, broker: Broker, mirror_for: MakeMirror
) -> None:
    """SIGKILL: nobody says goodbye, and yet who looks later knows. The next start is online again."""
    mirror = mirror_for(frigate, rclone, **broker.environment())
    process = mirror.start()
    with home_of(broker) as home:
        mirror.wait_for(lambda: is_well(home))
        mirror.stop(process, signal.SIGKILL)
        mirror.wait_for(lambda: home.availability() == "offline")
    with home_of(broker) as late:
        mirror.wait_for(lambda: late.availability() == "offline")
        mirror.start()
        mirror.wait_for(lambda: is_well(late))


def test_uploads_wait_for_no_broker(
    rclone: Target, frigate: SimulatedFrigate, broker: Broker, home: Home, mirror_for: MakeMirror
) -> None:
    """Frozen, then killed, then back on its port: events are in the bucket all the time, and then Home Assistant knows."""
    mirror = mirror_for(frigate, rclone, **broker.environment())
    process = mirror.start()
    mirror.wait_for(lambda: is_well(home))
    broker.freeze()
    ended(frigate, 10)
    mirror.wait_for(lambda: len(rclone.objects()) == 10, 5)
    broker.stop()
    mirror.wait_for(lambda: "the connection is lost" in mirror.log())
    ended(frigate, 10)
    mirror.wait_for(lambda: len(rclone.objects()) == 20, 5)
    mirror.wait_for(lambda: "nothing listens there" in mirror.log())
    broker.start()
    mirror.wait_for(lambda: is_well(home) and home.state()["uploads_today"] == 20, 60)
    assert [re.search("connected|lost|nothing", line)[0] for line in mqtt_lines(mirror)] == [  # type: ignore[index]
        "connected", "lost", "nothing", "connected",
    ]  # fmt: skip
    broker.freeze()
    began = time.monotonic()
    assert mirror.stop(process) == 0
    assert time.monotonic() - began < 3


def test_a_wrong_password_is_one_sentence(
    rclone: Target, frigate: SimulatedFrigate, broker: Broker, mirror_for: MakeMirror
) -> None:
    """It names the variable, is not repeated at further attempts, holds no secret, and uploads go on."""
    mirror = mirror_for(frigate, rclone, **{**broker.environment(), "S3_MQTT_PASSWORD": "hidden-wrong-one"})
    mirror.start()
    mirror.wait_for(lambda: broker.log().count("not authorised") + broker.log().count("Connection Refused") >= 3)
    ended(frigate, 2)
    mirror.wait_for(lambda: len(rclone.objects()) == 2)
    (line,) = mqtt_lines(mirror)
    assert "it refuses the user" in line
    assert "S3_MQTT_USER" in line
    assert "hidden" not in mirror.log()


def test_the_button_tries_again_what_failed(
    rclone: Target, frigate: SimulatedFrigate, broker: Broker, home: Home, mirror_for: MakeMirror
) -> None:
    """An empty file fails; once it is whole, the button brings it into the bucket. A retained press is an old one."""
    (event,) = ended(frigate, 1)
    assert event.snapshot_path is not None
    picture = event.snapshot_path.read_bytes()
    event.snapshot_path.write_bytes(b"")
    home.say(RETRY, "PRESS", retain=True)
    mirror = mirror_for(frigate, rclone, S3_MAX_FAILED_RETRIES="1", **broker.environment())
    mirror.start()
    mirror.wait_for(lambda: home.state().get("failed") == 1 and is_well(home))
    event.snapshot_path.write_bytes(picture)
    home.say(RETRY, "something else")
    home.say("frigate-s3-mirror/test_home/availability", "offline")
    mirror.wait_for(lambda: home.availability() == "online")  # so it has heard the words before, too
    assert home.state()["failed"] == 1
    home.say(RETRY, "PRESS")
    mirror.wait_for(lambda: list(rclone.objects().values()) == [picture])
    mirror.wait_for(lambda: home.state()["failed"] == 0 and home.state()["uploads_today"] == 1)
    assert "Home Assistant asks for another try of what failed events=1" in mirror.log()
    assert mirror.log().count("another try") == 1
    with sqlite3.connect(mirror_state(frigate)) as ledger:
        assert ledger.execute("SELECT state FROM object").fetchall() == [("uploaded",)]
    ledger.close()


def mirror_state(frigate: SimulatedFrigate) -> Path:
    """Where the ledger is."""
    return frigate.db_path.parent / ".s3-mirror" / "ledger.db"


def test_lasting_trouble_is_seen_in_home_assistant(
    rclone: Target, frigate: SimulatedFrigate, broker: Broker, home: Home, mirror_for: MakeMirror
) -> None:
    """S3 is not there: DEGRADED with the reason, the problem is on, and what waits is counted."""
    more = {**broker.environment(), "S3_ENDPOINT_URL": "http://127.0.0.1:9"}
    mirror = mirror_for(frigate, rclone, **more)
    mirror.start()
    ended(frigate, 2)
    mirror.wait_for(lambda: "refuses connections" in home.state().get("reason", ""))
    mirror.wait_for(lambda: home.state()["backlog"] == 2)
    assert (home.state()["health"], home.state()["problem"], home.state()["missing_24h"]) == ("DEGRADED", "ON", 2)


def test_over_tls_with_an_authority_of_ones_own(
    rclone: Target, frigate: SimulatedFrigate, tmp_path: Path, mirror_for: MakeMirror
) -> None:
    """With S3_MQTT_CA_BUNDLE it connects; without, or without TLS, a sentence says what to set."""
    with mosquitto(tmp_path / "tls", tls=True) as broker, home_of(broker) as home:
        good = broker.environment()
        for more, words in (
            ({**good, "S3_MQTT_CA_BUNDLE": ""}, "S3_MQTT_CA_BUNDLE names the PEM file of a private authority"),
            ({**good, "S3_MQTT_URL": f"mqtt://127.0.0.1:{broker.port}"}, "write mqtts:// in S3_MQTT_URL"),
        ):
            mirror = mirror_for(frigate, rclone, **more)
            process = mirror.start()
            mirror.wait_for(lambda: words in mirror.log())  # noqa: B023
            assert mirror.stop(process) == 0
            assert len(mqtt_lines(mirror)) == 1
        mirror = mirror_for(frigate, rclone, **good)
        mirror.start()
        mirror.wait_for(lambda: is_well(home))
        assert PASSWORD not in mirror.log()
