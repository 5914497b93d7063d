"""The add-on's options as variables: whatever Home Assistant hands over, the result is an environment or sentences."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from frigate_s3_mirror.addon_options import (
    OTHER_VARIABLES,
    VARIABLES,
    Broker,
    OptionsError,
    environment_of,
    variables_of,
    with_option,
)

BROKER = Broker(host="core-mosquitto", port=1883, username="addons", password=SecretStr("their-password"))
_texts = st.text(st.characters(exclude_categories=()), max_size=20)
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | _texts
_values = st.recursive(_scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=2))
_options = st.dictionaries(st.sampled_from([*VARIABLES, OTHER_VARIABLES]) | _texts, _values)
_plain = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)


def made_or_problems(options: dict[str, object], mqtt: Broker | None) -> tuple[dict[str, str] | None, list[str]]:
    try:
        return environment_of(options, mqtt, {"TZ": "Europe/Berlin"}), []
    except OptionsError as error:
        return None, error.problems


@given(_options, st.none() | st.just(BROKER))
def test_whatever_comes_is_an_environment_or_sentences(options: dict[str, object], mqtt: Broker | None) -> None:
    """Every name and value can be handed to a process; a sentence names its option and is one line."""
    made, problems = made_or_problems(options, mqtt)
    assert (made is None) == bool(problems)
    assert all(problem.startswith("Option ") and problem.endswith(".") for problem in problems)
    assert all(problem.isprintable() for problem in problems)
    if made is None:
        return
    assert made["FRIGATE_SOURCE"] == "api"
    assert made["S3_STATE_DIR"] == "/data/mirror"
    assert made["TZ"] == "Europe/Berlin"
    for name, value in made.items():
        assert "=" not in name
        assert b"\0" not in os.fsencode(name + value)


@given(st.dictionaries(st.sampled_from(list(VARIABLES)), _plain))
def test_each_text_arrives_under_its_name(options: dict[str, str]) -> None:
    """And nothing else is chosen."""
    assert variables_of(options) == {VARIABLES[option]: text for option, text in options.items()}


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (False, "false"), (0, "0"), (2.5, "2.5"), (["a", "", None, "!b"], "a,!b"), (" x ", " x ")],
)
def test_values_as_the_mirror_reads_them(value: object, text: str) -> None:
    """Lists are comma separated; false and zero are values."""
    assert variables_of({"cameras": value}) == {"S3_CAMERAS": text}


@pytest.mark.parametrize("value", [None, "", [], [""]])
def test_nothing_is_the_mirror_s_default(value: object) -> None:
    """No variable at all."""
    assert variables_of({"region": value, "env": None}) == {}


def test_the_status_page_is_off_without_a_token() -> None:
    """A token opens it, in the form, among the others or in a file; the user's own address stays."""
    assert environment_of({}, None, {})["S3_STATUS_LISTEN"] == "off"
    for options in ({"status_token": "t"}, {"env": ["S3_STATUS_TOKEN=t"]}, {"env": ["S3_STATUS_TOKEN_FILE=/data/t"]}):
        assert environment_of(options, None, {})["S3_STATUS_LISTEN"] == "0.0.0.0:9380"
    own = environment_of({"env": ["S3_STATUS_LISTEN=127.0.0.1:1"], "status_token": "t"}, None, {})
    assert own["S3_STATUS_LISTEN"] == "127.0.0.1:1"


def test_the_broker_fills_what_the_user_left_open() -> None:
    """Its address and credentials; with TLS as mqtts."""
    made = environment_of({}, BROKER, {})
    assert made["S3_MQTT_URL"] == "mqtt://core-mosquitto:1883"
    assert (made["S3_MQTT_USER"], made["S3_MQTT_PASSWORD"]) == ("addons", "their-password")
    assert BROKER.model_copy(update={"ssl": True, "port": 8883}).url == "mqtts://core-mosquitto:8883"
    assert "S3_MQTT_USER" not in environment_of({}, Broker(host="broker", port=1), {})


def test_credentials_are_never_mixed() -> None:
    """A user of one's own goes without the other's password."""
    made = environment_of({"mqtt_user": "me"}, BROKER, {})
    assert made["S3_MQTT_URL"] == "mqtt://core-mosquitto:1883"
    assert made["S3_MQTT_USER"] == "me"
    assert "S3_MQTT_PASSWORD" not in made


@pytest.mark.parametrize("entry", ["S3_MQTT_URL=", "S3_MQTT_URL=mqtt://other", "S3_MQTT_URL_FILE=/data/url"])
def test_a_broker_that_the_user_names_is_the_only_one(entry: str) -> None:
    """Set to nothing, there is none."""
    made = environment_of({"env": [entry]}, BROKER, {})
    assert "S3_MQTT_USER" not in made
    assert made.get("S3_MQTT_URL", "") == entry.removeprefix("S3_MQTT_URL=").replace("S3_MQTT_URL_FILE=/data/url", "")


@pytest.mark.parametrize("name", ["FRIGATE_SOURCE", "S3_STATE_DIR", "S3_STATE_DIR_FILE"])
def test_what_makes_it_an_add_on_cannot_be_changed(name: str) -> None:
    """Elsewhere the ledger would be gone after an update, and out of the backups."""
    with pytest.raises(OptionsError, match=f"entry 1 sets {name}, which the add-on sets itself"):
        environment_of({"env": [f"{name}=x"]}, None, {})


def test_a_sentence_of_the_settings_gets_its_option() -> None:
    """Or `env`, where the variable has no option of its own."""
    assert with_option("S3_BUCKET is not set.") == "Option bucket: S3_BUCKET is not set."
    assert with_option("S3_SPOOL_MAX is wrong.") == "Option env: S3_SPOOL_MAX is wrong."
