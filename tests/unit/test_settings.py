"""Settings: every problem is told at once, in a sentence that names its variable, and secrets stay hidden."""

from __future__ import annotations

from pathlib import Path

import pytest

from frigate_s3_mirror.config.spelling import effective
from frigate_s3_mirror.environment import SettingsError, load
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.units import format_duration, format_size, parse_duration, parse_rate

GOOD = {"S3_BUCKET": "bucket", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "hush-hush"}
WRONG = [
    ("S3_BUCKET", "", "S3_BUCKET is not set; it is required."),
    ("S3_BUCKET", "s3://bucket/path", "S3_BUCKET 's3://bucket/path' is not a bucket's name"),
    ("S3_ACCESS_KEY", "", "S3_ACCESS_KEY is not set, but S3_SECRET_KEY is"),
    ("S3_SECRET_KEY", "", "S3_SECRET_KEY is not set, but S3_ACCESS_KEY is"),
    ("S3_SECRET_KEY", "hush hush", "S3_SECRET_KEY holds white space"),
    ("S3_ACCESS_KEY", "k\u00e9y", "S3_ACCESS_KEY holds white space or characters that no key has"),
    ("S3_ENDPOINT_URL", "minio:9000", "S3_ENDPOINT_URL 'minio:9000' is not an endpoint"),
    ("S3_ENDPOINT_URL", "https://u:hush-hush@host", "S3_ENDPOINT_URL 'https://***@host' is not an endpoint"),
    ("S3_ENDPOINT_URL", "https://host/bucket", "S3_ENDPOINT_URL"),
    ("S3_ENDPOINT_URL", "https://host:99999", "S3_ENDPOINT_URL"),
    ("S3_ENDPOINT_URL", "http://[::1", "S3_ENDPOINT_URL"),
    ("S3_UPLOAD_THREADS", "many", "S3_UPLOAD_THREADS must be a number, not 'many'."),
    ("S3_UPLOAD_THREADS", "0", "S3_UPLOAD_THREADS must be at least 1, not '0'."),
    ("S3_UPLOAD_THREADS", "9999", "S3_UPLOAD_THREADS must be at most 256"),
    ("S3_BATCH_SIZE", "-1", "S3_BATCH_SIZE must be at least 1"),
    ("S3_BATCH_SIZE", "2.5", "S3_BATCH_SIZE must be a number"),
    ("S3_MAX_FAILED_RETRIES", "0", "S3_MAX_FAILED_RETRIES must be at least 1"),
    ("S3_STORAGE_CLASS", "cheap one", "S3_STORAGE_CLASS 'cheap one' is not a name"),
    ("S3_PROVIDER", "amazon", "S3_PROVIDER 'amazon' is not known"),
    ("S3_ADDRESSING_STYLE", "host", "S3_ADDRESSING_STYLE must be auto, path or virtual, not 'host'."),
    ("S3_SSE", "aes", "S3_SSE must be AES256"),
    ("S3_SSE_KMS_KEY_ID", "k", "S3_SSE_KMS_KEY_ID is set, but S3_SSE is not"),
    ("S3_CA_BUNDLE", "/no/such.pem", "S3_CA_BUNDLE '/no/such.pem' cannot be read"),
    ("S3_BANDWIDTH_LIMIT", "fast", "S3_BANDWIDTH_LIMIT 'fast' is not a rate"),
    ("S3_BANDWIDTH_LIMIT", "0", "S3_BANDWIDTH_LIMIT '0' is not a rate"),
    ("S3_SCAN_INTERVAL", "soon", "S3_SCAN_INTERVAL 'soon' is not a duration"),
    ("S3_SCAN_INTERVAL", "0s", "S3_SCAN_INTERVAL must be at least 0.1"),
    ("S3_STATS_INTERVAL", "5 fortnights", "S3_STATS_INTERVAL '5 fortnights' is not a duration"),
    ("S3_SHUTDOWN_GRACE", "-1s", "S3_SHUTDOWN_GRACE '-1s' is not a duration"),
    ("S3_ARTIFACTS", "snapshot,video", "S3_ARTIFACTS must be"),
    ("S3_KEY_TIMEZONE", "Mars/Base", "S3_KEY_TIMEZONE 'Mars/Base' is not a time zone"),
    ("S3_KEY_TIMEZONE", "../../etc/passwd", "S3_KEY_TIMEZONE"),
    ("S3_KEY_TEMPLATE", "{camera}/{date}", "S3_KEY_TEMPLATE needs {event_id}"),
    ("S3_KEY_TEMPLATE", "{event_id}/{colour}", "S3_KEY_TEMPLATE {colour} is not a field"),
    ("S3_KEY_TEMPLATE", "{event_id}/{", "S3_KEY_TEMPLATE its braces do not match"),
    ("S3_KEY_TEMPLATE", "../{event_id}", "S3_KEY_TEMPLATE holds a part"),
    ("S3_PATH_PREFIX", "a/../b", "S3_PATH_PREFIX 'a/../b' is not usable"),
    ("S3_LOG_LEVEL", "loud", "S3_LOG_LEVEL must be"),
    ("S3_HEARTBEAT_INTERVAL", "1s", "S3_HEARTBEAT_INTERVAL must be at least 5"),
    ("S3_SECRET_KEY_FILE", "/run/secrets/none", "S3_SECRET_KEY and S3_SECRET_KEY_FILE are both set"),
    ("S3_STATUS_LISTEN", "9380", "S3_STATUS_LISTEN '9380' is not an address"),
    ("S3_STATUS_LISTEN", "127.0.0.1:http", "S3_STATUS_LISTEN '127.0.0.1:http' is not an address"),
    (
        "S3_STATUS_LISTEN",
        "0.0.0.0:9380",
        "S3_STATUS_LISTEN=0.0.0.0:9380 is reachable from other machines; set S3_STATUS_TOKEN",
    ),
    ("S3_STATUS_LISTEN", "[::]:9380", "S3_STATUS_LISTEN=[::]:9380 is reachable from other machines"),
    ("S3_STATUS_TOKEN", "hush", "S3_STATUS_TOKEN is too short"),
    ("S3_STATUS_PROXY", "perhaps", "S3_STATUS_PROXY must be true or false, not 'perhaps'."),
    ("S3_MQTT_URL", "http://broker", "S3_MQTT_URL 'http://broker' is not a broker"),
    ("S3_MQTT_URL", "mqtt://me:hush@broker", "S3_MQTT_URL 'mqtt://***@broker' is not a broker"),
    ("S3_MQTT_PASSWORD", "hush", "S3_MQTT_PASSWORD is set, but S3_MQTT_USER is not"),
    ("S3_MQTT_DISCOVERY_PREFIX", "a b", "S3_MQTT_DISCOVERY_PREFIX 'a b' is not a topic"),
    ("S3_HEARTBEAT_URL", "hush", "S3_HEARTBEAT_URL is not a URL"),
    ("FRIGATE_UI_URL", "frigate:5000", "FRIGATE_UI_URL 'frigate:5000' is not a web address"),
    ("S3_LOG_FORMAT", "xml", "S3_LOG_FORMAT must be text or json, not 'xml'."),
    ("S3_OVERWRITE", "always", "S3_OVERWRITE must be never or changed, not 'always'."),
    ("S3_SPOOL_MAX", "plenty", "S3_SPOOL_MAX 'plenty' is not a size"),
    ("S3_RETENTION_DAYS", "0", "S3_RETENTION_DAYS must be at least 1"),
    ("FRIGATE_RETENTION_DAYS", "ten", "FRIGATE_RETENTION_DAYS must be a number, not 'ten'."),
    ("S3_REGION_FILE", "/run/secrets/none", "S3_REGION_FILE names '/run/secrets/none', which cannot be read"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), WRONG)
def test_a_wrong_value_gets_one_sentence(name: str, value: str, sentence: str) -> None:
    """It starts with the variable, ends with a full stop, and does not give the secret away."""
    with pytest.raises(SettingsError) as caught:
        load({**GOOD, name: value})
    assert len(caught.value.problems) == 1, caught.value.problems
    problem = caught.value.problems[0]
    assert problem.replace(" is wrong:", "").startswith(sentence), problem
    assert problem.endswith(".")
    assert "hush" not in problem


def test_all_problems_are_told_at_once() -> None:
    """Nobody repairs one variable a night."""
    with pytest.raises(SettingsError) as caught:
        load({"S3_UPLOAD_THREADS": "x", "S3_REGION_FILE": "/none"})
    assert len(caught.value.problems) == 3


def test_a_custom_endpoint_needs_keys() -> None:
    """No instance role serves a MinIO."""
    with pytest.raises(SettingsError, match="needs both"):
        load({"S3_BUCKET": "b-b", "S3_ENDPOINT_URL": "https://minio.example.com:9000"})


def test_docker_secrets_give_values(tmp_path: Path) -> None:
    """NAME_FILE is read, and said to be the origin."""
    secret = tmp_path / "secret"
    secret.write_text("from-file\n")
    loaded = load({"S3_BUCKET": "b-b", "S3_ACCESS_KEY": "k", "S3_SECRET_KEY_FILE": str(secret)})
    assert loaded.settings.secret_key is not None
    assert loaded.settings.secret_key.get_secret_value() == "from-file"
    assert loaded.origins["S3_SECRET_KEY"] == f"file {secret}"


def test_unknown_names_get_the_nearest_known_one() -> None:
    """A slip of the finger is not silently without effect."""
    warnings = load({**GOOD, "S3_STORAG_CLASS": "x", "S3_MIRROR_PARENT_PIPE": "1"}).warnings
    assert warnings == ("S3_STORAG_CLASS is not a setting of the mirror; did you mean S3_STORAGE_CLASS?",)


def test_storage_class_and_addressing_follow_the_server() -> None:
    """STANDARD_IA and virtual hosts on AWS; elsewhere neither, unless set."""
    aws = load(GOOD).settings
    other = load({**GOOD, "S3_ENDPOINT_URL": "http://127.0.0.1:9000"}).settings
    forced = load({**GOOD, "S3_ENDPOINT_URL": "http://127.0.0.1:9000", "S3_STORAGE_CLASS": "GLACIER_IR"}).settings
    assert (aws.effective_storage_class, aws.virtual_host) == ("STANDARD_IA", True)
    assert (other.effective_storage_class, other.virtual_host) == (None, False)
    assert forced.effective_storage_class == "GLACIER_IR"
    assert load({**GOOD, "S3_ENDPOINT_URL": "https://s3.us-west-1.wasabisys.com"}).settings.preset.name == "wasabi"


def test_secrets_are_hidden_wherever_settings_are_shown() -> None:
    """`config`, repr and str."""
    settings = load(GOOD).settings
    assert "hush" not in repr(settings) + str(effective(settings))


def test_defaults_are_those_that_the_user_knows() -> None:
    """The documented defaults."""
    settings = load(GOOD).settings
    assert (settings.upload_threads, settings.batch_size, settings.max_failed_retries) == (8, 50, 3)
    assert (settings.region, settings.path_prefix, settings.artifacts) == ("us-east-1", "", (Kind.SNAPSHOT,))
    assert (settings.scan_interval, settings.stats_interval, settings.shutdown_grace) == (5, 300, 8)


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5), ("300", 300), ("1.5m", 90), ("500ms", 0.5), ("1h", 3600)])
def test_durations(text: str, seconds: float) -> None:
    """Units as people write them."""
    assert parse_duration(text) == seconds


def test_rates_and_sizes() -> None:
    """Powers of 1000, as providers bill."""
    assert parse_rate("2MB/s") == parse_rate("2 mb") == 2_000_000
    assert (format_size(1234567), format_duration(3725), format_duration(4)) == ("1.2 MB", "1 h 2 min", "4.0 s")
