"""What Home Assistant is told: ids that hold, states that say what is, and few words about a broker in trouble."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror import broker_errors, home_assistant
from frigate_s3_mirror.clock import SystemClock
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.health import Condition, Health
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.mqtt import HomeAssistantLink
from frigate_s3_mirror.scan import Proof
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.status import Status

STATUS = Status(
    running=True, version="1", health="DEGRADED", reason="As the ledger has it.", health_since=1_700_000_000.0,
    counts={"uploaded": 9, "failed": 2, "expired": 1}, clips=None, backlog=4, lag_seconds=12.34, retrying=0, next_retry_at=None,
    s3_answered_at=None, last_upload_at=1_700_000_100.5, last_upload_key="front/a.jpg", waiting=[], failures=[],
    proof={"24 h": Proof(10, 7, 7, None), "7 d": Proof(10, 10, 10, None)},
)  # fmt: skip


def settings(**more: str) -> Settings:
    base = {"S3_BUCKET": "bucket", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "hidden-secret", "S3_SITE": "home"}
    return load({**base, "S3_MQTT_URL": "mqtt://127.0.0.1", **more}).settings


@given(st.text(max_size=40))
def test_a_site_of_any_name_is_a_valid_part_of_a_topic(site: str) -> None:
    """Home Assistant takes letters, digits, hyphens and underscores."""
    assert re.fullmatch(r"[a-z0-9_]+", home_assistant.site_slug(site))


def test_sites_that_differ_in_other_letters_only_stay_apart() -> None:
    """And a plain one is as it was written."""
    assert home_assistant.site_slug("My Home-2") == "my_home_2"
    assert home_assistant.site_slug("дом") != home_assistant.site_slug("дача")


def test_the_prefix_is_the_users() -> None:
    """For discovery and for Home Assistant's birth; everything else is under a name of our own."""
    topics = home_assistant.topics_for(settings(S3_MQTT_DISCOVERY_PREFIX="my/ha"))
    assert topics.discovery == "my/ha/device/frigate_s3_mirror_home/config"
    assert topics.birth == "my/ha/status"
    assert topics.state == "frigate-s3-mirror/home/state"


def test_the_device_holds_every_entity_and_no_secret() -> None:
    """Ids are unique and bear the site's name."""
    text = home_assistant.discovery(settings(S3_MQTT_USER="mirror", S3_MQTT_PASSWORD="hidden-password"))
    parts = json.loads(text)["components"]
    assert set(parts) == {
        "health", "missing_24h", "backlog", "lag", "last_upload", "uploads_today", "failed", "expired", "problem", "retry",
    }  # fmt: skip
    ids = {part["unique_id"] for part in parts.values()}
    assert len(ids) == len(parts)
    assert all(unique_id.startswith("frigate_s3_mirror_home_") for unique_id in ids)
    assert "hidden" not in text


def test_health_and_problem_alone_are_on_the_dashboards_that_make_themselves() -> None:
    """Figures and the button are diagnostic."""
    parts = json.loads(home_assistant.discovery(settings()))["components"]
    assert {name for name, part in parts.items() if part.get("entity_category") != "diagnostic"} == {
        "health",
        "problem",
    }


def test_every_template_finds_its_value_in_the_state() -> None:
    """What a template asks for is a field of the state."""
    fields = set(json.loads(home_assistant.state(STATUS, 0)))
    asked = set(re.findall(r"value_json\.(\w+)", home_assistant.discovery(settings())))
    assert asked == fields


def test_the_state_says_what_the_status_says() -> None:
    """Times are ISO 8601 with an offset, as device class timestamp wants them."""
    assert json.loads(home_assistant.state(STATUS, 3)) == {
        "health": "DEGRADED", "reason": "As the ledger has it.", "health_since": "2023-11-14T22:13:20+00:00",
        "problem": "ON", "missing_24h": 3, "backlog": 4, "lag_seconds": 12.3, "last_upload_at": "2023-11-14T22:15:00+00:00",
        "last_upload_key": "front/a.jpg", "uploads_today": 3, "failed": 2, "expired": 1,
    }  # fmt: skip


def test_there_is_no_problem_only_while_health_is_ok() -> None:
    """DEGRADED and DOWN are one."""
    told = {health: json.loads(home_assistant.state(replace(STATUS, health=health), 0))["problem"] for health in Health}
    assert told == {"OK": "OFF", "DEGRADED": "ON", "DOWN": "ON"}


def test_the_services_own_health_is_newer_than_the_ledgers(tmp_path: Path) -> None:
    """Health, reason and time come from it as soon as something was heard."""
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.open()
    ledger.note(health="OK", reason="", health_since=1.0)
    ledger.close()
    link = HomeAssistantLink(settings(S3_STATE_DIR=str(tmp_path)), SystemClock())
    link.health_changed(Condition(Health.DOWN, "Frigate is away."), 5.0)
    told = json.loads(link._look() or "")
    assert (told["health"], told["reason"]) == ("DOWN", "Frigate is away.")
    assert told["health_since"] == "1970-01-01T00:00:05+00:00"
    link._pool.shutdown()


def test_what_is_not_known_is_null() -> None:
    """Without Frigate's table nobody knows what is missing; nothing was uploaded yet."""
    told = json.loads(home_assistant.state(replace(STATUS, proof=None, last_upload_at=None), 0))
    assert told["missing_24h"] is None
    assert told["last_upload_at"] is None


@pytest.mark.parametrize("day", ["2024-03-31", "2024-10-27", "2024-06-15"])
@pytest.mark.parametrize("hour", [0, 1, 12, 23])
def test_the_day_begins_at_local_midnight(day: str, hour: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on the two days on which the clock jumps; by S3_KEY_TIMEZONE as by the machine's own zone."""
    berlin = ZoneInfo("Europe/Berlin")
    now = datetime.fromisoformat(f"{day}T{hour:02}:30").replace(tzinfo=berlin).timestamp()
    began = datetime.fromisoformat(day).replace(tzinfo=berlin).timestamp()
    assert home_assistant.midnight(now, "Europe/Berlin") == began
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Europe/Berlin")
        time.tzset()
        assert home_assistant.midnight(now, None) == began
    time.tzset()


# -- a broker in trouble -----------------------------------------------------------------------------------------------


def test_each_cause_has_words_that_say_what_to_do() -> None:
    """By the variable that is to be looked at."""
    untrusted = ssl.SSLCertVerificationError(1, "")
    untrusted.verify_message = "self-signed certificate"
    for error, words in (
        (ConnectionRefusedError(), "nothing listens there"),
        (TimeoutError(), "does not answer"),
        (socket.gaierror(-2, "Name or service not known"), "not found (Name or service not known); check S3_MQTT_URL"),
        (untrusted, "not trusted (self-signed certificate); S3_MQTT_CA_BUNDLE"),
        (OSError(113, "No route to host"), "cannot be reached (No route to host)"),
        (None, "cannot be reached (NoneType)"),
    ):
        assert words in broker_errors.no_connection(error)
    assert "check S3_MQTT_USER" in broker_errors.refusal("Not authorized", has_user=True)
    assert "set S3_MQTT_USER" in broker_errors.refusal("Not authorized", has_user=False)
    assert "(server unavailable)" in broker_errors.refusal("Server unavailable", has_user=True)


def test_a_password_that_stays_wrong_is_one_line_for_ever() -> None:
    """Tried again every minute for a day; then it is right, and wrong again the next day."""
    news = broker_errors.News()
    assert [news.is_bad_news("wrong", minute * 60.0) for minute in range(1440)] == [True] + [False] * 1439
    assert news.is_good_news()
    assert not news.is_good_news()
    assert news.is_bad_news("wrong", 2 * 86400.0)


happenings = st.sampled_from(["well", "lost", "refused", "silent"])


@given(st.lists(st.tuples(st.integers(0, 100), happenings), max_size=200))
def test_a_broker_that_comes_and_goes_is_not_told_in_a_loop_of_lines(history: list[tuple[int, str]]) -> None:
    """No line twice in a row, each cause at most once in ten minutes, and good news only after bad."""
    news, now, said = broker_errors.News(), 0, []
    for wait, what in history:
        now += wait
        is_said = news.is_good_news() if what == "well" else news.is_bad_news(what, now)
        if is_said:
            said.append((now, what))
    for number, (at, what) in enumerate(said):
        if what != "well":
            assert sum(at <= when < at + 600 for when, other in said if other == what) == 1
        assert number == 0 or said[number - 1][1] != what
