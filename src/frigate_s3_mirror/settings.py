"""The effective settings: validated, with secrets that hide themselves. `environment.py` fills them."""

from __future__ import annotations

import functools
import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from frigate_s3_mirror import providers
from frigate_s3_mirror import setting_rules as rules
from frigate_s3_mirror.database_words import COPY_NAME
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.setting_rules import TEMPLATE_FIELDS
from frigate_s3_mirror.units import parse_duration, parse_rate, parse_size

DEFAULT_TEMPLATE = "{prefix}/{camera}/{date}/{event_id}-{timestamp}"
INNER_PORT = 5001
"""Frigate's API inside of its container: paths without `/api`, no login, no files."""

Duration = Annotated[float, BeforeValidator(lambda v: parse_duration(v) if isinstance(v, str) else v)]
Size = Annotated[int, BeforeValidator(lambda v: parse_size(v) if isinstance(v, str) else v)]
Rate = Annotated[int, BeforeValidator(lambda v: parse_rate(v) if isinstance(v, str) else v)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(rules.split)]
Kinds = Annotated[tuple[Kind, ...], BeforeValidator(rules.split), AfterValidator(rules.artifacts)]
Severities = Annotated[tuple[Literal["alert", "detection"], ...], BeforeValidator(rules.split)]
Bucket = Annotated[str, AfterValidator(rules.bucket_name)]
AccessKey = Annotated[str, BeforeValidator(rules.without_white_space)]
SecretKey = Annotated[SecretStr, BeforeValidator(rules.without_white_space)]
Region = Annotated[str, Field(min_length=1), BeforeValidator(rules.without_white_space)]
Prefix = Annotated[str, AfterValidator(rules.key_prefix)]
Template = Annotated[str, AfterValidator(rules.key_template)]
TimeZone = Annotated[str, AfterValidator(rules.time_zone)]
Endpoint = Annotated[str, AfterValidator(rules.endpoint)]
Broker = Annotated[str, AfterValidator(rules.broker)]
ProviderName = Annotated[str, AfterValidator(rules.provider)]
CaBundle = Annotated[Path, AfterValidator(rules.ca_bundle)]
ListenAddress = Annotated[str, AfterValidator(rules.listen_address)]
Token = Annotated[SecretStr, AfterValidator(rules.long_token)]
Watchdog = Annotated[SecretStr, AfterValidator(rules.watchdog)]


class Settings(BaseModel):
    """All that a user can set. A field's alias is its variable; its description is its line in the docs."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False)

    bucket: Bucket = Field(alias="S3_BUCKET", description="Bucket that receives the snapshots. Required.")
    access_key: AccessKey | None = Field(
        None, alias="S3_ACCESS_KEY",
        description="Access key id. Required with S3_ENDPOINT_URL; on AWS, without it, the AWS credential chain is used "
        "(environment, web identity, container and instance roles).",
    )  # fmt: skip
    secret_key: SecretKey | None = Field(
        None, alias="S3_SECRET_KEY", description="Secret access key that belongs to S3_ACCESS_KEY."
    )
    region: Region = Field("us-east-1", alias="S3_REGION", description="Region of the bucket.")
    path_prefix: Prefix = Field(
        "", alias="S3_PATH_PREFIX", description="What every key starts with, for example frigate/snapshots."
    )
    endpoint_url: Endpoint | None = Field(
        None, alias="S3_ENDPOINT_URL", description="URL of an S3-compatible server; not set, AWS is used."
    )
    upload_threads: int = Field(8, alias="S3_UPLOAD_THREADS", ge=1, le=256, description="Uploads at the same time.")
    batch_size: int = Field(
        50, alias="S3_BATCH_SIZE", ge=1, le=10_000,
        description="Events taken from the backlog at a time; smaller uses less memory.",
    )  # fmt: skip
    storage_class: str | None = Field(
        None, alias="S3_STORAGE_CLASS", pattern=r"^[A-Z0-9_-]+$",
        description="Storage class of the objects. Not set: STANDARD_IA on AWS, and no class is sent to other servers, "
        "because many refuse one that they lack. A value that is set is always sent.",
    )  # fmt: skip
    overwrite: Literal["never", "changed"] | None = Field(
        None, alias="S3_OVERWRITE",
        description="never: an object that is there already is left alone (the same content counts as uploaded, other content is "
        "told as a failure); changed: it is replaced. Not set: never, where the server can do it.",
    )  # fmt: skip
    spool_max: Size = Field(
        2_000_000_000, alias="S3_SPOOL_MAX",
        description="Most that is kept in the spool folder of snapshots that S3 could not take, in case Frigate deletes them; 0 keeps none.",
    )  # fmt: skip
    retention_days: int | None = Field(
        None, alias="S3_RETENTION_DAYS", ge=1, le=36500,
        description="For `lifecycle`: after how many days the bucket itself deletes snapshots. The mirror never deletes. Not set: never.",
    )  # fmt: skip
    max_failed_retries: int = Field(
        3, alias="S3_MAX_FAILED_RETRIES", ge=1, le=1000,
        description="How often an upload that S3 or the disk refuses for its own sake is tried before it is marked failed. "
        "Outages and wrong credentials are never counted.",
    )  # fmt: skip
    provider: ProviderName | None = Field(
        None,
        alias="S3_PROVIDER",
        description=f"Preset for the server, normally told from the endpoint: {', '.join(providers.NAMES)}.",
    )
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        "auto", alias="S3_ADDRESSING_STYLE",
        description="Bucket in the path or in the host name; auto is virtual on AWS and path on a custom endpoint.",
    )  # fmt: skip
    sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = Field(
        None,
        alias="S3_SSE",
        description="Server-side encryption to ask for: AES256, aws:kms or aws:kms:dsse.",
    )
    sse_kms_key_id: str | None = Field(None, alias="S3_SSE_KMS_KEY_ID", description="KMS key for S3_SSE=aws:kms.")
    ca_bundle: CaBundle | None = Field(
        None,
        alias="S3_CA_BUNDLE",
        description="PEM file with the certificate authority of a private S3 server, trusted besides the system's.",
    )
    bandwidth_limit: Rate | None = Field(
        None,
        alias="S3_BANDWIDTH_LIMIT",
        description="Average upload rate that is not exceeded, for example 2MB/s. Not set: no limit.",
    )
    scan_interval: Duration = Field(
        5.0, alias="S3_SCAN_INTERVAL", ge=0.1, le=3600,
        description="How often Frigate's table is looked at for what inotify did not tell; with FRIGATE_SOURCE=api, how often Frigate is "
        "asked what began lately.",
    )  # fmt: skip
    stats_interval: Duration = Field(
        300.0,
        alias="S3_STATS_INTERVAL",
        ge=1,
        le=86400,
        description="How often the statistics line is logged.",
    )
    shutdown_grace: Duration = Field(
        8.0, alias="S3_SHUTDOWN_GRACE", ge=0, le=600,
        description="How long a stop waits for uploads in flight. Docker kills after 10 s unless the compose file says otherwise.",
    )  # fmt: skip
    heartbeat_interval: Duration = Field(
        300.0, alias="S3_HEARTBEAT_INTERVAL", ge=5, le=86400,
        description="How often a small object under the prefix says how the mirror does, and proves that S3 takes uploads.",
    )  # fmt: skip
    db_path: Path = Field(
        Path("/config/frigate.db"),
        alias="FRIGATE_DB_PATH",
        description="Frigate's database; it is only read.",
    )
    frigate_retention_days: float = Field(
        10.0, alias="FRIGATE_RETENTION_DAYS", ge=1, le=3650,
        description="How long Frigate keeps snapshots (its snapshots.retain.default): the mirror warns of waiting ones a day before.",
    )  # fmt: skip
    clips_dir: Path = Field(
        Path("/media/frigate/clips"),
        alias="FRIGATE_CLIPS_DIR",
        description="Frigate's clips folder; its pictures are only read.",
    )
    recordings_dir: Path | None = Field(
        None, alias="FRIGATE_RECORDINGS_DIR",
        description="Frigate's recordings folder, for clips; only read. Not set: recordings beside the clips folder.",
    )  # fmt: skip
    state_dir: Path | None = Field(
        None, alias="S3_STATE_DIR",
        description="Folder for the ledger and the two text state files. Not set: the ledger is in .s3-mirror beside Frigate's "
        "database, the text files in cache in the clips folder.",
    )  # fmt: skip
    artifacts: Kinds = Field(
        (Kind.SNAPSHOT,), alias="S3_ARTIFACTS", min_length=1,
        description="What is mirrored of an event, comma separated: snapshot, clean, thumbnail, metadata, clip (docs/clips.md).",
    )  # fmt: skip
    cameras: Patterns = Field(
        (),
        alias="S3_CAMERAS",
        description="Only these cameras, comma separated; globs; !name leaves one out. Not set: all.",
    )
    labels: Patterns = Field(
        (),
        alias="S3_LABELS",
        description="Only these labels, comma separated; globs; !name leaves one out. Not set: all.",
    )
    key_timezone: TimeZone | None = Field(
        None,
        alias="S3_KEY_TIMEZONE",
        description="Time zone of dates in keys, for example Europe/Berlin. Not set: the local time zone.",
    )
    key_template: Template = Field(
        DEFAULT_TEMPLATE, alias="S3_KEY_TEMPLATE",
        description=f"Layout of a key without its ending; fields: {', '.join(TEMPLATE_FIELDS)}. The ledger remembers every key, "
        "so a change never moves or sends again what is there.",
    )  # fmt: skip
    site: str = Field(
        default_factory=socket.gethostname,
        alias="S3_SITE",
        description="Name of this installation in its heartbeat object. Not set: the host name.",
    )
    live: bool = Field(
        False, alias="S3_LIVE",
        description="true (recommended): the picture of an event goes to S3 while the event still runs, see docs/live.md.",
    )  # fmt: skip
    live_retention_days: int | None = Field(
        None, alias="S3_LIVE_RETENTION_DAYS", ge=1, le=36500,
        description="For `lifecycle`: after how many days the bucket deletes live pictures. Set, each of them carries the tag "
        "frigate=live by which the bucket tells them apart, which needs s3:PutObjectTagging. Not set: as the snapshots.",
    )  # fmt: skip
    live_interval: Duration = Field(
        10.0, alias="S3_LIVE_INTERVAL", ge=1, le=3600,
        description="Least time between two live pictures of one event; one that is no better than the last is not sent.",
    )  # fmt: skip
    live_keep: Literal["all", "first", "none"] = Field(
        "all", alias="S3_LIVE_KEEP",
        description="Which live pictures stay once the final one is in the bucket: all, the first, or none. "
        "first and none delete objects and need s3:DeleteObject.",
    )  # fmt: skip
    clip_pre: Duration = Field(
        5.0, alias="S3_CLIP_PRE", ge=0, le=600,
        description="How long before its event a clip begins; segments go whole, so it may begin some seconds earlier.",
    )  # fmt: skip
    clip_post: Duration = Field(
        5.0, alias="S3_CLIP_POST", ge=0, le=600, description="How long after its event a clip goes on."
    )  # fmt: skip
    clip_max: Duration = Field(
        1800.0, alias="S3_CLIP_MAX", ge=10, le=86400,
        description="Longest clip of one event, from its beginning: a parked car's event can last for days.",
    )  # fmt: skip
    clip_cameras: Patterns = Field(
        (), alias="S3_CLIP_CAMERAS",
        description="Clips of these cameras only, of those in S3_CAMERAS; globs; !name leaves one out. Not set: all of them.",
    )  # fmt: skip
    clip_labels: Patterns = Field(
        (), alias="S3_CLIP_LABELS",
        description="Clips of these labels only, of those in S3_LABELS; globs; !name leaves one out. Not set: all of them.",
    )  # fmt: skip
    clip_severity: Severities = Field(
        (), alias="S3_CLIP_SEVERITY",
        description="Clips only of events that Frigate's review calls this, comma separated: alert, detection "
        "(Frigate 0.14 or later). Not set: of all events.",
    )  # fmt: skip
    clip_retention_days: int | None = Field(
        None, alias="S3_CLIP_RETENTION_DAYS", ge=1, le=36500,
        description="For `lifecycle`: after how many days the bucket deletes clips. Set, each segment carries the tag "
        "frigate=clip by which the bucket tells them apart, which needs s3:PutObjectTagging. Not set: as the snapshots.",
    )  # fmt: skip
    frigate_source: Literal["disk", "api"] = Field(
        "disk", alias="FRIGATE_SOURCE",
        description="disk: Frigate's database and folders are read. api: all comes over FRIGATE_URL, for Home Assistant's add-on "
        "and for other hosts; then S3_STATE_DIR is required, and FRIGATE_DB_PATH and the folders are not used. See docs/api-mode.md.",
    )  # fmt: skip
    frigate_url: str = Field(
        "http://127.0.0.1:5001", alias="FRIGATE_URL", pattern=r"^https?://[^\s/]+(/\S*)?$",
        description="Frigate's HTTP API, for live pictures and FRIGATE_SOURCE=api. The default is right inside of its container; "
        "from elsewhere http://frigate:5000, or https://frigate:8971 with a login.",
    )  # fmt: skip
    frigate_user: str | None = Field(None, alias="FRIGATE_USER", description="User for port 8971 of Frigate.")
    frigate_password: SecretStr | None = Field(None, alias="FRIGATE_PASSWORD", description="Password of FRIGATE_USER.")
    frigate_token: SecretStr | None = Field(
        None, alias="FRIGATE_TOKEN", description="A token for Frigate's API, instead of a user and password."
    )
    frigate_tls_verify: bool = Field(
        True, alias="FRIGATE_TLS_VERIFY",
        description="false: accept any certificate of Frigate's port 8971, which by default is one that nobody has signed.",
    )  # fmt: skip
    frigate_mqtt_topic: str = Field(
        "frigate", alias="FRIGATE_MQTT_TOPIC", pattern=r"^[^\s#+]+$",
        description="Frigate's topic prefix at the broker of S3_MQTT_URL: live pictures and FRIGATE_SOURCE=api then need no waiting for the next look.",
    )  # fmt: skip
    status_listen: ListenAddress = Field(
        "127.0.0.1:9380", alias="S3_STATUS_LISTEN",
        description="Where the status page, /healthz, /api/status and /metrics are served, host:port; off: nowhere. "
        "Beyond loopback S3_STATUS_TOKEN is needed.",
    )  # fmt: skip
    status_token: Token | None = Field(
        None, alias="S3_STATUS_TOKEN",
        description="Whoever looks at the status page must know this; at least 12 characters. /healthz never asks for it.",
    )  # fmt: skip
    status_proxy: bool = Field(
        False, alias="S3_STATUS_PROXY",
        description="true: the status page fetches pictures from the bucket itself, for browsers that cannot reach it.",
    )  # fmt: skip
    frigate_ui_url: str | None = Field(
        None, alias="FRIGATE_UI_URL", pattern=r"^https?://[^\s/]+(/\S*)?$",
        description="Address of Frigate's own page as your browser knows it, for links from the status page (Frigate 0.14 or later).",
    )  # fmt: skip
    mqtt_url: Broker | None = Field(
        None, alias="S3_MQTT_URL",
        description="MQTT broker that tells Home Assistant how the mirror does: mqtt://host:1883, or mqtts://host:8883 with TLS.",
    )  # fmt: skip
    mqtt_user: str | None = Field(None, alias="S3_MQTT_USER", description="User at the MQTT broker.")
    mqtt_password: SecretStr | None = Field(None, alias="S3_MQTT_PASSWORD", description="Password of S3_MQTT_USER.")
    mqtt_ca_bundle: CaBundle | None = Field(
        None, alias="S3_MQTT_CA_BUNDLE",
        description="PEM file with the certificate authority of an mqtts:// broker, instead of the system's.",
    )  # fmt: skip
    mqtt_discovery_prefix: str = Field(
        "homeassistant", alias="S3_MQTT_DISCOVERY_PREFIX", pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$",
        description="Topic prefix under which Home Assistant looks for devices.",
    )  # fmt: skip
    notify_url: SecretStr | None = Field(
        None, alias="S3_NOTIFY_URL",
        description="Apprise URLs, separated by blanks: one message when health is not OK for 5 minutes, one when it is again, "
        "one when snapshots were lost.",
    )  # fmt: skip
    heartbeat_url: Watchdog | None = Field(
        None, alias="S3_HEARTBEAT_URL",
        description="URL of a watchdog like healthchecks.io, called after a verified upload or an idle check that S3 answered, "
        "at most once a minute.",
    )  # fmt: skip
    log_format: Literal["text", "json"] = Field(
        "text", alias="S3_LOG_FORMAT", description="text: lines like Frigate's; json: an object a line, for log collectors."
    )  # fmt: skip
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        alias="S3_LOG_LEVEL",
        description="Least severe log lines that are written: debug, info, warning or error.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        found = (
            self._key_problems, self._encryption_problems, self._mqtt_problems, self._status_page_problems,
            self._retention_problems, self._api_problems,
        )  # fmt: skip
        problems = [problem for look in found for problem in look()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _key_problems(self) -> Iterator[str]:
        if (self.access_key is None) != (self.secret_key is None):
            missing, there = (
                ("S3_SECRET_KEY", "S3_ACCESS_KEY") if self.access_key else ("S3_ACCESS_KEY", "S3_SECRET_KEY")
            )
            yield f"{missing} is not set, but {there} is; set both, or neither to use the AWS credential chain."
        if self.access_key is None and self.secret_key is None and self.endpoint_url is not None and not self._on_aws():
            yield "S3_ACCESS_KEY and S3_SECRET_KEY are not set; a server at S3_ENDPOINT_URL needs both."

    def _encryption_problems(self) -> Iterator[str]:
        if self.sse_kms_key_id and self.sse not in {"aws:kms", "aws:kms:dsse"}:
            yield "S3_SSE_KMS_KEY_ID is set, but S3_SSE is not aws:kms or aws:kms:dsse; set S3_SSE=aws:kms."

    def _mqtt_problems(self) -> Iterator[str]:
        if self.mqtt_password is not None and self.mqtt_user is None:
            yield "S3_MQTT_PASSWORD is set, but S3_MQTT_USER is not; set both."

    def _status_page_problems(self) -> Iterator[str]:
        if self.status_address is not None and self.status_token is None and not _is_loopback(self.status_address[0]):
            yield f"S3_STATUS_LISTEN={self.status_listen} is reachable from other machines; set S3_STATUS_TOKEN, or listen on 127.0.0.1."

    def _retention_problems(self) -> Iterator[str]:
        for name, days in (("LIVE", self.live_retention_days), ("CLIP", self.clip_retention_days)):
            if days is not None and self.retention_days is not None and days > self.retention_days:
                yield (
                    f"S3_{name}_RETENTION_DAYS={days} is longer than S3_RETENTION_DAYS={self.retention_days}, by which the bucket "
                    "deletes all that is under the prefix; make it shorter."
                )

    def _api_problems(self) -> Iterator[str]:
        if self.frigate_source != "api":
            return
        if self.state_dir is None:
            yield "S3_STATE_DIR is not set; FRIGATE_SOURCE=api needs a folder for its ledger that stays."
        if urlsplit(self.frigate_url).port == INNER_PORT:
            yield (
                f"FRIGATE_URL={rules.without_password(self.frigate_url)} is Frigate's inner port, which serves no files; "
                "FRIGATE_SOURCE=api needs port 5000, or 8971 with a login."
            )

    def _on_aws(self) -> bool:
        return self.preset.name == "aws"

    @functools.cached_property
    def preset(self) -> providers.Provider:
        """How the server wants its requests."""
        host = urlsplit(self.endpoint_url).hostname if self.endpoint_url else None
        return providers.provider_for(host, self.provider)

    @property
    def effective_storage_class(self) -> str | None:
        """The storage class that is sent, or None for no header at all."""
        return self.storage_class or self.preset.storage_class

    @property
    def virtual_host(self) -> bool:
        """Whether the bucket goes into the host name."""
        if self.addressing_style == "auto":
            # AWS's certificate is for *.s3...: it fits no name with a dot more.
            return self.preset.virtual_host and "." not in self.bucket
        return self.addressing_style == "virtual"

    @property
    def status_address(self) -> tuple[str, int] | None:
        """Host and port of the status page, or None for no page."""
        if self.status_listen == "off":
            return None
        url = urlsplit(f"//{self.status_listen}")
        return url.hostname or "", url.port or 0

    @property
    def picture_kinds(self) -> tuple[Kind, ...]:
        """What is mirrored of an event but its clip: one object of each kind."""
        return tuple(kind for kind in self.artifacts if kind is not Kind.CLIP)

    @property
    def has_clips(self) -> bool:
        """Whether clips are mirrored."""
        return Kind.CLIP in self.artifacts

    @property
    def effective_recordings_dir(self) -> Path:
        """Where Frigate's recordings are."""
        return self.recordings_dir or self.clips_dir.parent / "recordings"

    @property
    def event_database(self) -> Path:
        """Frigate's own database, or the copy of its tables that FRIGATE_SOURCE=api keeps."""
        return self.ledger_dir / COPY_NAME if self.frigate_source == "api" else self.db_path

    @property
    def ledger_dir(self) -> Path:
        """Folder of the ledger: always one that a local disk backs, unless the user chose another."""
        return self.state_dir or self.db_path.parent / ".s3-mirror"

    @property
    def text_state_dir(self) -> Path:
        """Folder of `.s3_uploaded_events` and `.s3_failed_events`."""
        return self.state_dir or self.clips_dir / "cache"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
