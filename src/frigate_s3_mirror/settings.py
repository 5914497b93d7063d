"""The effective settings: read from the environment once, validated, with secrets that hide themselves.

Nothing else in the package reads `S3_*` or `FRIGATE_*` variables. Every variable may also be given as `NAME_FILE`,
a path whose content is the value (Docker secrets). All problems are told at once.
"""

from __future__ import annotations

import difflib
import functools
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from frigate_s3_mirror import providers
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.units import parse_duration, parse_rate, parse_size

INTERNAL_NAMES = frozenset({"S3_MIRROR_PARENT_PIPE", "S3_MIRROR_PARENT_PID", "S3_MIRROR_INIT", "S3_MIRROR_LIB"})
DEFAULT_TEMPLATE = "{prefix}/{camera}/{date}/{event_id}-{timestamp}"
TEMPLATE_FIELDS = (
    "prefix", "camera", "label", "date", "year", "month", "day", "hour", "time", "timestamp", "event_id",
)  # fmt: skip


class SettingsError(Exception):
    """The settings are wrong; `problems` holds one sentence for each, naming its variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _split(value: object) -> object:
    return tuple(p.strip() for p in value.split(",") if p.strip()) if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(lambda v: parse_duration(v) if isinstance(v, str) else v)]
Size = Annotated[int, BeforeValidator(lambda v: parse_size(v) if isinstance(v, str) else v)]
Rate = Annotated[int, BeforeValidator(lambda v: parse_rate(v) if isinstance(v, str) else v)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_split)]
Kinds = Annotated[tuple[Kind, ...], BeforeValidator(_split)]


class Settings(BaseModel):
    """All that a user can set. A field's alias is its variable; its description is its line in the docs."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False)

    bucket: str = Field(alias="S3_BUCKET", description="Bucket that receives the snapshots. Required.")
    access_key: str | None = Field(
        None, alias="S3_ACCESS_KEY",
        description="Access key id. Required with S3_ENDPOINT_URL; on AWS, without it, the AWS credential chain is used "
        "(environment, web identity, container and instance roles).",
    )  # fmt: skip
    secret_key: SecretStr | None = Field(
        None, alias="S3_SECRET_KEY", description="Secret access key that belongs to S3_ACCESS_KEY."
    )
    region: str = Field("us-east-1", alias="S3_REGION", description="Region of the bucket.", min_length=1)
    path_prefix: str = Field(
        "", alias="S3_PATH_PREFIX", description="What every key starts with, for example frigate/snapshots."
    )
    endpoint_url: str | None = Field(
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
    provider: str | None = Field(
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
    ca_bundle: Path | None = Field(
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
        description="How often Frigate's table is looked at for what inotify did not tell.",
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
        900.0, alias="S3_HEARTBEAT_INTERVAL", ge=5, le=86400,
        description="When nothing was uploaded for so long, a small object under the prefix proves that S3 still takes uploads.",
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
    state_dir: Path | None = Field(
        None, alias="S3_STATE_DIR",
        description="Folder for the ledger and the two text state files. Not set: the ledger is in .s3-mirror beside Frigate's "
        "database, the text files in cache in the clips folder.",
    )  # fmt: skip
    artifacts: Kinds = Field(
        (Kind.SNAPSHOT,), alias="S3_ARTIFACTS", min_length=1,
        description="What is mirrored of an event, comma separated: snapshot, clean, thumbnail, metadata.",
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
    key_timezone: str | None = Field(
        None,
        alias="S3_KEY_TIMEZONE",
        description="Time zone of dates in keys, for example Europe/Berlin. Not set: the local time zone.",
    )
    key_template: str = Field(
        DEFAULT_TEMPLATE, alias="S3_KEY_TEMPLATE",
        description=f"Layout of a key without its ending; fields: {', '.join(TEMPLATE_FIELDS)}. The ledger remembers every key, "
        "so a change never moves or sends again what is there.",
    )  # fmt: skip
    site: str = Field(
        default_factory=socket.gethostname,
        alias="S3_SITE",
        description="Name of this installation in its heartbeat object. Not set: the host name.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        alias="S3_LOG_LEVEL",
        description="Least severe log lines that are written: debug, info, warning or error.",
    )

    @field_validator("bucket")
    @classmethod
    def _bucket_is_a_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", value):
            raise ValueError(f"'{value}' is not a bucket's name; give the name alone, without s3:// and without a path")
        return value

    @field_validator("access_key", "secret_key", "region", mode="before")
    @classmethod
    def _no_white_space(cls, value: object) -> object:
        if isinstance(value, str) and (re.search(r"\s", value) or not value.isascii()):
            raise ValueError("holds white space or characters that no key has; was it copied whole and alone?")
        return value

    @field_validator("path_prefix")
    @classmethod
    def _prefix_is_a_path(cls, value: str) -> str:
        parts = [part for part in value.split("/") if part]
        if any(part in {".", ".."} or not part.isprintable() for part in parts):
            raise ValueError(f"'{value}' is not usable in a key; write for example frigate/snapshots")
        return "/".join(parts)

    @field_validator("endpoint_url")
    @classmethod
    def _endpoint_is_a_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            url = urlsplit(value)
            whole = url.scheme in {"http", "https"} and url.hostname and (url.port or True)
        except ValueError:
            whole = False
        if not whole or url.username or url.path.strip("/") or url.query:
            raise ValueError(
                f"'{_without_password(value)}' is not an endpoint; write for example https://minio.example.com:9000"
            )
        return value.rstrip("/")

    @field_validator("provider")
    @classmethod
    def _provider_is_known(cls, value: str | None) -> str | None:
        if value is not None and value.lower() not in providers.NAMES:
            raise ValueError(f"'{value}' is not known; use one of {', '.join(providers.NAMES)}")
        return value.lower() if value else None

    @field_validator("ca_bundle")
    @classmethod
    def _bundle_is_readable(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        try:
            text = value.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"'{value}' cannot be read as a PEM file ({_reason(error)})") from error
        if "BEGIN CERTIFICATE" not in text:
            raise ValueError(f"'{value}' holds no PEM certificate")
        return value

    @field_validator("key_timezone")
    @classmethod
    def _timezone_exists(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ValueError(f"'{value}' is not a time zone; write for example Europe/Berlin or UTC") from error
        return value

    @field_validator("key_template")
    @classmethod
    def _template_is_usable(cls, value: str) -> str:
        fields = re.findall(r"\{([^{}]*)\}", value)
        rest = re.sub(r"\{[^{}]*\}", "", value)
        unknown = [name for name in fields if name not in TEMPLATE_FIELDS]
        if "{" in rest or "}" in rest or unknown:
            wrong = f"{{{unknown[0]}}} is not a field" if unknown else "its braces do not match"
            raise ValueError(f"{wrong}; the fields are {', '.join(TEMPLATE_FIELDS)}")
        if "event_id" not in fields:
            raise ValueError("needs {event_id}, or two events could get the same key")
        if not rest.isprintable() or any(part in {".", ".."} for part in value.split("/")):
            raise ValueError("holds a part that is not usable in a key")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        problems = []
        if (self.access_key is None) != (self.secret_key is None):
            missing, there = (
                ("S3_SECRET_KEY", "S3_ACCESS_KEY") if self.access_key else ("S3_ACCESS_KEY", "S3_SECRET_KEY")
            )
            problems.append(
                f"{missing} is not set, but {there} is; set both, or neither to use the AWS credential chain."
            )
        if self.access_key is None and self.secret_key is None and self.endpoint_url is not None and not self._on_aws():
            problems.append("S3_ACCESS_KEY and S3_SECRET_KEY are not set; a server at S3_ENDPOINT_URL needs both.")
        if self.sse_kms_key_id and self.sse not in {"aws:kms", "aws:kms:dsse"}:
            problems.append("S3_SSE_KMS_KEY_ID is set, but S3_SSE is not aws:kms or aws:kms:dsse; set S3_SSE=aws:kms.")
        if problems:
            raise ValueError("\n".join(problems))
        return self

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
            return self.preset.virtual_host
        return self.addressing_style == "virtual"

    @property
    def ledger_dir(self) -> Path:
        """Folder of the ledger: always one that a local disk backs, unless the user chose another."""
        return self.state_dir or self.db_path.parent / ".s3-mirror"

    @property
    def text_state_dir(self) -> Path:
        """Folder of `.s3_uploaded_events` and `.s3_failed_events`."""
        return self.state_dir or self.clips_dir / "cache"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings with where each value came from and what is odd about the environment."""

    settings: Settings
    origins: Mapping[str, str]
    """Variable name to "environment", "file <path>" or "default"."""
    warnings: tuple[str, ...]


def names() -> tuple[str, ...]:
    """Every variable that is known, in the order of the documentation."""
    return tuple(str(field.alias) for field in Settings.model_fields.values())


def load(environ: Mapping[str, str]) -> Loaded:
    """Read and validate the settings.

    Raises SettingsError that holds a sentence for each problem found.
    """
    values: dict[str, str] = {}
    origins = dict.fromkeys(names(), "default")
    problems: list[str] = []
    for name in names():
        try:
            found = _lookup(name, environ)
        except ValueError as error:
            problems.append(str(error))
            continue
        if found is not None:
            values[name], origins[name] = found
    skipped = {problem.split(" ", 1)[0].removesuffix("_FILE") for problem in problems}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [s for s in _sentences(error) if s.split(" ", 1)[0] not in skipped]
    if problems:
        raise SettingsError(problems)
    return Loaded(settings, origins, tuple(_unknown_names(environ)))


def _lookup(name: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    direct, path = environ.get(name, "").strip(), environ.get(f"{name}_FILE", "").strip()
    if direct and path:
        raise ValueError(f"{name} and {name}_FILE are both set; keep one of them.")
    if direct:
        return direct, "environment"
    if not path:
        return None
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}_FILE names '{path}', which cannot be read ({_reason(error)}).") from error
    if not text:
        raise ValueError(f"{name}_FILE names '{path}', which is empty.")
    return text, f"file {path}"


def _sentences(error: ValidationError) -> list[str]:
    sentences = []
    for problem in error.errors(include_url=False):
        message = problem["msg"].removeprefix("Value error, ").rstrip(".")
        if not problem["loc"]:
            sentences += [line.rstrip(".") + "." for line in message.splitlines()]
            continue
        name = str(problem["loc"][0])
        if problem["type"] == "missing":
            sentences.append(f"{name} is not set; it is required.")
        else:
            sentences.append(f"{name} {_explain(problem['type'], message, problem)}.")
    return sentences


def _explain(kind: str, message: str, problem: Any) -> str:
    context, given = problem.get("ctx") or {}, _shown(problem)
    match kind:
        case "int_parsing" | "int_from_float" | "float_parsing":
            return f"must be a number, not '{given}'"
        case "greater_than_equal" | "less_than_equal":
            bound = f"at least {context['ge']:g}" if kind == "greater_than_equal" else f"at most {context['le']:g}"
            return f"must be {bound}, not '{given}'"
        case "literal_error" | "enum":
            return f"must be {context['expected'].replace(chr(39), '')}, not '{given}'"
        case "string_pattern_mismatch":
            return f"'{given}' is not a name that S3 knows; write for example STANDARD or STANDARD_IA"
    return message if message.startswith(("'", "needs", "holds", "{")) else f"is wrong: {message}"


def _shown(problem: Any) -> str:
    return "***" if str(problem["loc"][0]) == "S3_SECRET_KEY" else str(problem["input"])


def _unknown_names(environ: Mapping[str, str]) -> list[str]:
    known = {*names(), *(f"{name}_FILE" for name in names()), *INTERNAL_NAMES}
    warnings = []
    for name in sorted(environ):
        if name.startswith("S3_") and name not in known:
            near = difflib.get_close_matches(name, names(), n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else "it has no effect."
            warnings.append(f"{name} is not a setting of the mirror; {hint}")
    return warnings


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", url)


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "not text"
