"""Every setting passes the same gate: what cannot be meant is told in a sentence of ours, and nothing is an exception."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from frigate_s3_mirror.config.spelling import effective, unit_of
from frigate_s3_mirror.documentation import settings_table
from frigate_s3_mirror.environment import SECRET_NAMES, SettingsError, load, names
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.units import Unit, is_in_bits, parse_duration, parse_rate, parse_size, spell_duration, spell_size

GOOD = {"S3_BUCKET": "my-bucket", "S3_ACCESS_KEY": "AKIA0123456789ABCDEF", "S3_SECRET_KEY": "s3cr3t-of-mine-0123456789"}
VALID = {
    **GOOD,
    "S3_ENDPOINT_URL": "https://s3.lan:9000",
    "S3_REGION": "eu-west-1",
    "S3_PATH_PREFIX": "frigate/snapshots",
    "S3_UPLOAD_THREADS": "4",
    "S3_BATCH_SIZE": "20",
    "S3_STORAGE_CLASS": "STANDARD",
    "S3_OVERWRITE": "never",
    "S3_SPOOL_MAX": "1GB",
    "S3_RETENTION_DAYS": "60",
    "S3_MAX_FAILED_RETRIES": "5",
    "S3_PROVIDER": "minio",
    "S3_ADDRESSING_STYLE": "path",
    "S3_SSE": "aws:kms",
    "S3_SSE_KMS_KEY_ID": "key-1",
    "S3_BANDWIDTH_LIMIT": "2MB/s",
    "S3_SCAN_INTERVAL": "5s",
    "S3_STATS_INTERVAL": "5m",
    "S3_SHUTDOWN_GRACE": "8s",
    "S3_HEARTBEAT_INTERVAL": "5m",
    "FRIGATE_DB_PATH": "/config/frigate.db",
    "FRIGATE_RETENTION_DAYS": "10",
    "FRIGATE_CLIPS_DIR": "/media/frigate/clips",
    "FRIGATE_RECORDINGS_DIR": "/media/frigate/recordings",
    "S3_STATE_DIR": "/state",
    "S3_ARTIFACTS": "snapshot,clean",
    "S3_CAMERAS": "front_door,!yard",
    "S3_LABELS": "person",
    "S3_KEY_TIMEZONE": "Europe/Berlin",
    "S3_KEY_TEMPLATE": "{prefix}/{camera}/{event_id}",
    "S3_SITE": "bob's house",
    "S3_LIVE": "true",
    "S3_LIVE_RETENTION_DAYS": "7",
    "S3_LIVE_INTERVAL": "10s",
    "S3_LIVE_KEEP": "all",
    "S3_CLIP_PRE": "5s",
    "S3_CLIP_POST": "5s",
    "S3_CLIP_MAX": "30m",
    "S3_CLIP_CAMERAS": "front*",
    "S3_CLIP_LABELS": "person",
    "S3_CLIP_SEVERITY": "alert",
    "S3_CLIP_RETENTION_DAYS": "7",
    "FRIGATE_SOURCE": "disk",
    "FRIGATE_URL": "http://frigate:5000",
    "FRIGATE_USER": "me",
    "FRIGATE_PASSWORD": "pa'ss\"word",
    "FRIGATE_TOKEN": "abc.def.ghi",
    "FRIGATE_TLS_VERIFY": "false",
    "FRIGATE_MQTT_TOPIC": "frigate",
    "S3_STATUS_LISTEN": "127.0.0.1:9380",
    "S3_STATUS_TOKEN": "long-enough-token",
    "S3_STATUS_PROXY": "true",
    "FRIGATE_UI_URL": "http://192.168.1.10:5000/?x=1",
    "S3_MQTT_URL": "mqtt://192.168.1.10:1883",
    "S3_MQTT_USER": "me",
    "S3_MQTT_PASSWORD": "hush-hush-hush",
    "S3_MQTT_DISCOVERY_PREFIX": "homeassistant",
    "S3_NOTIFY_URL": "ntfy://topic\njson://host",
    "S3_HEARTBEAT_URL": "https://hc-ping.com/0a1b",
    "S3_LOG_FORMAT": "json",
    "S3_LOG_LEVEL": "debug",
}
NEED_A_FILE = {"S3_CA_BUNDLE", "S3_MQTT_CA_BUNDLE"}
NAMES = sorted(set(names()))
MISTAKES = {
    "double quotes": '"{}"',
    "single quotes": "'{}'",
    "back quotes": "`{}`",
    "typographic quotes": "\u201c{}\u201d",
    "quotes and blanks": ' "{}" ',
    "nothing but quotes": '""',
    "one quote": '"',
    "control character": "{}\x1b[31m",
    "NUL": "a\0{}",
    "byte order mark": "\ufeff{}",
    "zero width": "{}\u200bx",
    "not UTF-8": "{}\udcff",
    "unfilled variable": "${{S3_SOMETHING}}",
    "angle brackets": "<put it here>",
    "dots": "...",
    "changed later": "changeme",
    "our own placeholder": "your-bucket-name",
    "too long": "{}" + "x" * 70000,
}
PASSWORDS_MAY = {"FRIGATE_PASSWORD", "S3_MQTT_PASSWORD"}
PYDANTIC = re.compile(
    r"Input should|Value error|valid (string|integer|number|boolean|path|tuple)|Tuple should|String should|should have|after validation"
    r"|unable to (parse|interpret)|Unable to|is wrong: [A-Z]|got an? |pydantic|errors?\.pydantic|List should|Assertion",
)


def problems_of(environ: dict[str, str]) -> list[str]:
    try:
        load(environ)
    except SettingsError as error:
        return error.problems
    return []


def test_the_table_of_valid_values_names_every_setting_and_is_valid() -> None:
    """A new setting must be added to it, or none of the tests below looks at it."""
    assert set(NAMES) - NEED_A_FILE == set(VALID)
    load(VALID)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_meant_is_refused_in_one_sentence(name: str, mistake: str) -> None:
    """It names the variable, and repeats neither a secret nor a control character; in a file it is the same."""
    if mistake == "changed later" and name in PASSWORDS_MAY:  # another program may really have it, so it is only told
        assert any(warning.startswith(name) for warning in load({**VALID, name: "changeme"}).warnings)
        return
    value = MISTAKES[mistake].format(VALID.get(name, "/etc/none.pem"))
    problems = problems_of({**VALID, name: value})
    assert len(problems) == 1, problems
    assert re.match(rf"{name}\b.*\.$", problems[0]), problems
    assert problems[0].isprintable()
    assert len(problems[0]) < 400
    if name in SECRET_NAMES:
        assert VALID[name] not in problems[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_line_break_is_refused_where_it_separates_nothing(name: str) -> None:
    """In lists and between notification addresses it is as good as a blank."""
    value = VALID.get(name, "/etc/none.pem")
    problems = problems_of({**VALID, name: f"{value}\nx"})
    if name == "S3_NOTIFY_URL":
        assert not problems
    elif name in {"S3_CAMERAS", "S3_LABELS", "S3_CLIP_CAMERAS", "S3_CLIP_LABELS"}:
        assert problems == [f"{name} holds a line break within an item; put commas between items."]
    else:
        assert len(problems) == 1, problems
        assert problems[0].isprintable()


@pytest.mark.parametrize("name", NAMES)
def test_a_blank_value_is_no_value(name: str) -> None:
    """As compose gives it for `NAME=`."""
    assert problems_of({**VALID, name: " \t\n"}) == problems_of({k: v for k, v in VALID.items() if k != name})


@pytest.mark.parametrize("name", sorted(set(NAMES) - NEED_A_FILE))
def test_a_file_passes_the_same_gate(name: str, tmp_path: Path) -> None:
    """Quotation marks in a secret's file are as wrong as in the compose file; a byte order mark before it is not."""
    path = tmp_path / "value"
    path.write_text(f'"{VALID[name]}"\n')
    environ = {k: v for k, v in VALID.items() if k != name} | {f"{name}_FILE": str(path)}
    assert re.match(rf"{name} has quotation marks.*{name}_FILE", problems_of(environ)[0])
    path.write_text(f"{VALID[name]}\n", encoding="utf-8-sig")
    assert problems_of(environ) == []
    path.write_bytes(VALID[name].encode("utf-16"))
    assert len(problems_of(environ)) == 1


WRONG_VALUES = [
    "",
    "x",
    "-1",
    "0",
    "nan",
    "inf",
    "1e999",
    "9" * 5000,
    "1.5",
    "true",
    "a b",
    ",",
    ",,",
    "!",
    "[x]",
    "é",
    "/",
    "//",
    "http://",
    "0.0",
    "http://[::1",
    "http://h:99999",
    "mqtt://h/p",
    "s3://b",
    "a/../b",
    "{",
    "1 GB/s",
    "host:0",
    ":",
    "@",
    "%",
    "\\",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_sentence_is_in_the_librarys_words(name: str) -> None:
    """Thirty-odd wrong values into every variable: what is said is ours, and in the form in which it was entered."""
    for value in WRONG_VALUES:
        for problem in problems_of({**VALID, name: value}):
            assert not PYDANTIC.search(problem), problem
            assert problem.endswith("."), problem
            assert value == "0.0" or "'0.0'" not in problem, problem
            assert "alone?." not in problem


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"S3_ARTIFACTS": ","}, "S3_ARTIFACTS names nothing"),
        ({"S3_SCAN_INTERVAL": "0"}, "S3_SCAN_INTERVAL must be at least 0.1 s, not '0'."),
        ({"S3_STATS_INTERVAL": "2d"}, "S3_STATS_INTERVAL must be at most 1 d, not '2d'."),
        (
            {"S3_REGION": "https://s3.lan"},
            "S3_REGION 'https://s3.lan' is an address; the server goes into S3_ENDPOINT_URL",
        ),
        ({"S3_REGION": "Frankfurt am Main"}, "S3_REGION 'Frankfurt am Main' is not a region"),
        ({"S3_PATH_PREFIX": "s3://my-bucket/frigate"}, "S3_PATH_PREFIX 's3://my-bucket/frigate' is an address"),
        (
            {"S3_ENDPOINT_URL": "https://s3.lan/?x=hidden"},
            "S3_ENDPOINT_URL 'https://s3.lan/?...' is not an endpoint: nothing may follow",
        ),
        ({"S3_ENDPOINT_URL": "https://u:p@ss/w@s3.lan"}, "S3_ENDPOINT_URL 'https://***@s3.lan' is not an endpoint"),
        (
            {"S3_ENDPOINT_URL": "https://s3.lan/#a"},
            "S3_ENDPOINT_URL 'https://s3.lan/#...' is not an endpoint: nothing may follow",
        ),
        (
            {"S3_ENDPOINT_URL": "s3.lan:9000"},
            "S3_ENDPOINT_URL 's3.lan:9000' is not an endpoint: it must begin with http:// or https://",
        ),
        ({"S3_ENDPOINT_URL": "https://s3.lan/my-bucket"}, "S3_ENDPOINT_URL ends with the name of the bucket"),
        (
            {"S3_ENDPOINT_URL": "https://s3.lan/v1", "S3_ADDRESSING_STYLE": "virtual"},
            "S3_ADDRESSING_STYLE=virtual does not go with a path",
        ),
        ({"FRIGATE_URL": "http://h:99999"}, "FRIGATE_URL 'http://h:99999' is not a web address: its host or port"),
        (
            {"FRIGATE_URL": "http://me:hush@frigate:5000"},
            "FRIGATE_URL 'http://***@frigate:5000' is not a web address: it holds a user",
        ),
        ({"FRIGATE_TOKEN": "Bearer abc"}, "FRIGATE_TOKEN begins with Bearer"),
        ({"FRIGATE_TOKEN": "a b"}, "FRIGATE_TOKEN holds white space"),
        (
            {"S3_HEARTBEAT_URL": "https://hc-ping.com/your-uuid"},
            "S3_HEARTBEAT_URL is still the placeholder of an example",
        ),
        ({"S3_NOTIFY_URL": "ntfy://me 'json://x'"}, "S3_NOTIFY_URL has quotation marks"),
        ({"S3_CAMERAS": '"front","back"'}, "S3_CAMERAS has quotation marks"),
        ({"S3_CAMERAS": 'front,!"back"'}, "S3_CAMERAS has quotation marks"),
        ({"S3_CAMERAS": '["front", "back"]'}, "S3_CAMERAS has quotation marks"),
        ({"S3_BUCKET": "arn:aws:s3:::my-bucket"}, "S3_BUCKET 'arn:aws:s3:::my-bucket' is not a bucket's name"),
        ({"S3_ACCESS_KEY": "AKIAIOSFODNN7EXAMPLE"}, "S3_ACCESS_KEY is still the placeholder"),
        ({"S3_SECRET_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}, "S3_SECRET_KEY is still the placeholder"),
        ({"S3_ACCESS_KEY": "your-access-key-id"}, "S3_ACCESS_KEY is still the placeholder"),
        ({"S3_SECRET_KEY": "your-secret-access-key"}, "S3_SECRET_KEY is still the placeholder"),
        ({"S3_SECRET_KEY": "a-secret\nof two lines"}, "S3_SECRET_KEY holds a line break"),
        (
            {"S3_SECRET_KEY": "", "S3_SECRET_KEY_FILE": "wJal/rXUtnFEMI"},
            "S3_SECRET_KEY_FILE names a file, which cannot be read",
        ),
        ({"S3_SPOOL_MAX": "9" * 400 + "GB/s"}, "S3_SPOOL_MAX '999"),
    ],
)
def test_each_mistake_has_its_cure(more: dict[str, str], sentence: str) -> None:
    """One sentence each, though more than one rule may be hurt."""
    problems = problems_of({**VALID, **more})
    assert len(problems) == 1, problems
    assert problems[0].startswith(sentence), problems[0]
    assert not re.search("hush|p@ss|hidden|wJal", problems[0])


@pytest.mark.parametrize(
    ("access", "secret"),
    [
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYNOTMYKEY99", "AKIA0123456789ABCDEF"),
        ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123", "0123456789ABCDEFGHIJ"),
        ("0123456789abcdef" * 4, "GK" + "0123456789abcdef01234567"),
        ("0123456789abcdef" * 4, "0123456789abcdef" * 2),
    ],
)
def test_swapped_keys_are_told_and_the_secret_is_not(access: str, secret: str) -> None:
    """The right way round they are fine."""
    assert problems_of({**GOOD, "S3_ACCESS_KEY": secret, "S3_SECRET_KEY": access}) == []
    problems = problems_of({**GOOD, "S3_ACCESS_KEY": access, "S3_SECRET_KEY": secret})
    assert len(problems) == 1
    assert "swap them" in problems[0]
    assert access not in problems[0]


def test_config_shows_four_letters_of_an_access_key() -> None:
    """Somebody may have put the secret there."""
    settings = load({**GOOD, "S3_ACCESS_KEY": "some-secret-at-the-wrong-place"}).settings
    shown = effective(settings)["S3_ACCESS_KEY"]
    assert shown == "some..."
    assert "wrong-place" not in repr(settings)
    assert effective(load({**GOOD, "S3_ACCESS_KEY": "short"}).settings)["S3_ACCESS_KEY"] == "..."


@pytest.mark.parametrize(
    "zone",
    [
        "",
        "UTC",
        "Europe/Berlin",
        ":Europe/Berlin",
        "America/New_York",
        "EST5EDT",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "<+03>-3",
        "Etc/GMT+5",
        "GMT0",
    ],
)
def test_time_zones_that_are_some_are_not_told(zone: str) -> None:
    assert load({**GOOD, "TZ": zone}).warnings == ()


@pytest.mark.parametrize(
    ("zone", "near"),
    [
        ("America/New York", "America/New_York"),
        ('"Europe/Berlin"', "Europe/Berlin"),
        ("Europe/Berln", "Europe/Berlin"),
        ("Mars/Base", "Europe/Berlin or UTC"),
        ("a" * 5000, "Europe"),
        ("x\0y", "Europe"),
    ],
)
def test_a_time_zone_that_is_none_is_told(zone: str, near: str) -> None:
    """Keys fall back to UTC; with S3_KEY_TIMEZONE, TZ has no say in it."""
    (warning,) = load({**GOOD, "TZ": zone}).warnings
    assert "UTC" in warning
    assert f"write for example {near}" in warning
    assert load({**GOOD, "TZ": zone, "S3_KEY_TIMEZONE": "UTC"}).warnings == ()


@pytest.mark.parametrize(
    ("text", "rate", "told"),
    [
        ("2MB/s", 2_000_000, ""),
        ("2Mb/s", 250_000, "counts bits"),
        ("16Mbit/s", 2_000_000, ""),
        ("16 MBit/s", 2_000_000, ""),
        ("2mbps", 250_000, "counts bits"),
        ("500kbit", 62_500, ""),
        ("2MBps", 2_000_000, ""),
        ("1Gb/s", 125_000_000, "counts bits"),
        ("2mb/s", 2_000_000, "counts bytes"),
        ("1MiB/s", 1_048_576, ""),
        ("300", 300, ""),
        ("2MB", 2_000_000, ""),
    ],
)
def test_bits_are_told_from_bytes(text: str, rate: int, told: str) -> None:
    """What may be meant either way gets a warning that says what it counts as."""
    loaded = load({**GOOD, "S3_BANDWIDTH_LIMIT": text})
    assert loaded.settings.bandwidth_limit == rate
    assert told in " ".join(loaded.warnings)
    assert bool(loaded.warnings) == bool(told)


def test_a_password_that_was_never_changed_is_worth_a_warning() -> None:
    """The broker may really have it, so the mirror goes on."""
    warnings = load({**VALID, "S3_MQTT_PASSWORD": "changeme"}).warnings
    assert warnings == ("S3_MQTT_PASSWORD looks like the placeholder of an example.",)


def test_dots_in_a_buckets_name_ask_for_the_path_style() -> None:
    """AWS's certificate does not cover them; forced into the host name they can never work there."""
    aws = {**GOOD, "S3_BUCKET": "my.cams.example"}
    assert not load(aws).settings.virtual_host
    assert "S3_ADDRESSING_STYLE=path" in problems_of({**aws, "S3_ADDRESSING_STYLE": "virtual"})[0]
    own = {**aws, "S3_ENDPOINT_URL": "https://s3.lan", "S3_ADDRESSING_STYLE": "virtual"}
    assert load(own).settings.virtual_host


@pytest.mark.parametrize(
    "url", ["https://x.supabase.co/storage/v1/s3", "http://proxy.lan:8080/minio/", "https://s3.lan/"]
)
def test_an_endpoint_may_have_a_path(url: str) -> None:
    assert load({**GOOD, "S3_ENDPOINT_URL": url}).settings.endpoint_url == url.rstrip("/")


# -- what is shown can be typed in again -------------------------------------------------------------------------------


def test_config_can_be_used_as_input() -> None:
    """All but secrets, and what stands in parentheses, which is no value."""
    for environ in (VALID, GOOD, {**GOOD, "S3_ENDPOINT_URL": "http://127.0.0.1:9000"}):
        first = effective(load(environ).settings)
        again = {name: value for name, value in first.items() if not value.startswith(("(", "***"))}
        again |= {name: environ[name] for name in (*SECRET_NAMES, "S3_ACCESS_KEY") if name in environ}
        assert effective(load(again).settings) == first


def test_config_spells_values_as_people_write_them() -> None:
    shown = effective(load(GOOD).settings)
    wanted = {
        "S3_CLIP_MAX": "30m",
        "S3_SPOOL_MAX": "2 GB",
        "S3_LIVE": "false",
        "FRIGATE_TLS_VERIFY": "true",
        "S3_SCAN_INTERVAL": "5s",
        "FRIGATE_RETENTION_DAYS": "10",
    }
    assert {name: shown[name] for name in wanted} == wanted
    table = settings_table()
    assert all(f"| `{name}` | `{value}` |" in table for name, value in wanted.items())


@given(st.from_regex(r"\d{1,6}(\.\d{1,3})?(ms|s|m|h|d|)", fullmatch=True))
def test_durations_are_spelled_exactly(text: str) -> None:
    seconds = parse_duration(text)
    assert parse_duration(spell_duration(seconds)) == seconds


@given(st.integers(0, 10**18))
def test_sizes_are_spelled_exactly(size: int) -> None:
    assert parse_size(spell_size(size)) == size


@given(st.from_regex(r"\d{1,40}(\.\d{1,3})? ?[kKmMgG]?i?[bB]?(it|its)?(/s|ps|/sec)?", fullmatch=True))
def test_every_rate_is_a_number_or_a_sentence(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_rate(text) >= 1
    assert is_in_bits(text) in {True, False}


# -- whatever comes in -------------------------------------------------------------------------------------------------

SECRET = "kTq7-never-to-be-shown-9Zw"
ODD = st.one_of(
    st.text(max_size=60),
    st.text(st.characters(), max_size=20),
    st.sampled_from([*WRONG_VALUES, *VALID.values(), *MISTAKES.values()]),
    st.builds(lambda before, after: f"{before}{SECRET}{after}", st.text(max_size=5), st.text(max_size=5)),
)
ANY_NAME = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(NAMES).map(lambda name: f"{name}_FILE"),
    st.just("TZ"),
    st.text(max_size=12).map(lambda t: f"S3_{t}"),
)


@examples(deadline=None)
@given(st.dictionaries(ANY_NAME, ODD, max_size=12), st.sets(st.sampled_from(sorted({*SECRET_NAMES, "S3_ACCESS_KEY"}))))
@example({"S3_SPOOL_MAX": "9" * 400, "FRIGATE_URL": "http://[", "S3_STATE_DIR": "\udc80"}, set())
@example({"S3_ENDPOINT_URL": f"https://key:{SECRET}@host"}, {"S3_SECRET_KEY"})
@example({"FRIGATE_RETENTION_DAYS": SECRET, "S3_HEARTBEAT_URL_FILE": "0"}, {"S3_HEARTBEAT_URL"})
def test_any_environment_makes_settings_or_sentences(environ: dict[str, str], secrets: set[str]) -> None:
    """Never an exception, and a secret is in no sentence, wherever else it was written."""
    environ = {**GOOD, **environ, **dict.fromkeys(secrets, SECRET)}
    try:
        loaded = load(environ)
    except SettingsError as error:
        told = error.problems
        assert told
        assert all(problem.endswith(".") and re.match("(S3|FRIGATE)_", problem) for problem in told)
    else:
        told = list(loaded.warnings)
        assert isinstance(loaded.settings, Settings)
        assert all(isinstance(value, str) for value in effective(loaded.settings).values())
    assert not any(PYDANTIC.search(problem) for problem in told)
    assert all(problem.isprintable() for problem in told)
    if secrets:
        assert not any(SECRET in problem for problem in told)


def test_units_are_known_of_every_field_that_has_one() -> None:
    """`config` and the docs spell by them."""
    found = {field.alias: unit_of(field) for field in Settings.model_fields.values() if unit_of(field)}
    assert found["S3_SPOOL_MAX"] is Unit.SIZE
    assert found["S3_BANDWIDTH_LIMIT"] is Unit.RATE
    assert sum(unit is Unit.DURATION for unit in found.values()) == 8
