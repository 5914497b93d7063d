"""The checks of `doctor` on the bucket: look first, then put one object as a snapshot would be, and judge S3's answers.

What may be wrong is found by leaving one thing out at a time, and at last everything that may be left out. The object is as
large as a usual snapshot and has such metadata. It stays, for nothing is ever deleted; every run writes the same key.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace

from frigate_s3_mirror import __version__, policies
from frigate_s3_mirror.bucket_fixes import fix_of, seen_of
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.finding import Finding, failed, ok, skipped, warning
from frigate_s3_mirror.keys import encode_metadata, own_key, site_name
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3 import ObjectStore, Stored, Upload, md5_of_etag
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.signed_requests import SignedRequestError, SignedRequests
from frigate_s3_mirror.units import format_size

NAMES = (
    "region",
    "credentials",
    "bucket",
    "put",
    "metadata",
    "storage class",
    "tags",
    "encryption",
    "checksum",
    "object lock",
    "conditional put",
    "list",
)
"""The checks of this module, in their order."""
USUAL_SIZE = 65536
"""Bytes of the object: a small one would pass where no snapshot does (a hole in the path's MTU, a limit of a proxy)."""
_PAUSE = 1.0  # seconds before a server error is asked about once more

# Codes that say which check failed; what is not here is told from the status, see `blame`.
_BLAME = {
    "region": {
        "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "Redirect",
        "TemporaryRedirect",
    },
    "clock": {"RequestTimeTooSkewed"},
    "credentials": {
        "AccountProblem", "ExpiredToken", "InvalidAccessKeyId", "InvalidSecurity", "InvalidToken", "NotSignedUp",
        "SignatureDoesNotMatch", "Unauthorized",
    },
    "bucket": {"AllAccessDisabled", "InvalidBucketName", "NoSuchBucket"},
    "put": {"AccessDenied", "QuotaExceeded"},
    "encryption": {"KMS.DisabledException", "KMS.NotFoundException"},
    "storage class": {"InvalidStorageClass"},
}  # fmt: skip
_CHECK_OF_CODE = {code: check for check, codes in _BLAME.items() for code in codes}
_CHECK_OF_STATUS = {301: "region", 307: "region", 401: "credentials", 403: "put", 404: "bucket"}
_AFTER_SIGNATURE = frozenset({"AccessDenied", "NoSuchBucket", "QuotaExceeded", "InvalidStorageClass"})
"""Codes of refusals that come only once the signature was accepted."""
_HOPELESS = frozenset({"region", "credentials", "bucket", "clock"})
"""Checks without which there is no use in an upload; a missing bucket might even be made by it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One PUT of the object, what was sent with it, and how S3 answered."""

    storage_class: str | None
    with_checksum: bool
    etag: str = ""
    error: StoreError | None = None
    with_tags: bool = False
    with_sse: bool = False


@dataclass(frozen=True, slots=True)
class LockSeen:
    """What the bucket tells of its Object Lock."""

    is_on: bool | None = None
    """None: it did not tell."""
    why: str = ""
    """Why it did not tell, as a sentence."""


@dataclass(frozen=True, slots=True)
class Trial:
    """All that was tried and answered."""

    key: str
    body: bytes
    attempts: tuple[Attempt, ...]
    stored: bytes | StoreError | None = None
    """What was read back; only asked for when the ETag is not the body's MD5."""
    created_again: bool | StoreError | None = None
    """Whether a conditional PUT of the key that is there was carried out; None when it was not tried."""
    listing: StoreError | None = None
    """Why the listing was refused, None when it was given or not asked for."""
    is_listed: bool = False
    described: Stored | StoreError | None = None
    """What a HEAD of the object told; None when it was not asked."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What was sent."""
    lock: LockSeen = LockSeen()

    @property
    def last(self) -> Attempt:
        """The attempt that succeeded, or the last one."""
        return self.attempts[-1]

    @property
    def error(self) -> StoreError | None:
        """Why nothing was written, None when it was."""
        return self.last.error if self.attempts else self.listing

    @property
    def left_out(self) -> set[str]:
        """The checks of what the first attempt sent and the last one did not."""
        if not self.attempts:
            return set()
        first, last = self.attempts[0], self.last
        pairs = {
            "storage class": (first.storage_class, last.storage_class),
            "tags": (first.with_tags, last.with_tags),
            "encryption": (first.with_sse, last.with_sse),
            "checksum": (first.with_checksum, last.with_checksum),
        }
        return {name for name, (before, after) in pairs.items() if before != after}


def key_of(settings: Settings) -> str:
    """The key of the object."""
    return own_key(settings, f"doctor-{site_name(settings)}.json")


def upload_for(settings: Settings, now: float) -> Upload:
    """The object, with metadata like a snapshot's: one value is not ASCII and travels percent-encoded."""
    content = {"site": settings.site, "version": __version__, "at": round(now, 3), "filling": ""}
    missing = max(0, USUAL_SIZE - len(json.dumps(content)))
    content["filling"] = hashlib.shake_256(b"doctor").hexdigest(missing // 2)
    body = json.dumps(content).encode()
    metadata = {
        "event-id": f"{now:.6f}-doctor",
        "camera": "doctor",
        "label": encode_metadata("Prüfung ☃"),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return Upload(
        key_of(settings), body, len(body), "application/json", metadata, settings.effective_storage_class, tags_for(settings)
    )  # fmt: skip


def tags_for(settings: Settings) -> dict[str, str]:
    """The tags that live pictures or clips will carry."""
    wanted = {**(policies.tags("live", settings) if settings.live else {})}
    return wanted | (policies.tags("clip", settings) if settings.has_clips else {})


# -- asking S3 ---------------------------------------------------------------------------------------------------------


def try_bucket(settings: Settings, environ: MutableMapping[str, str], now: float) -> Trial:
    """List a page, put the object, look at it, put it again on condition. Raises StoreError when there can be no client."""
    upload = upload_for(settings, now)
    body = bytes(upload.body) if isinstance(upload.body, bytes) else b""
    store = _store(settings, environ)
    listing = _list(store, settings.path_prefix)
    trial = Trial(upload.key, body, (), listing=listing, is_listed=listing is None, metadata=upload.metadata)
    if listing is not None and _is_hopeless(listing):
        return trial
    attempts: list[Attempt] = []
    for option in _options(settings):
        store = _store(without(settings, environ, option), environ)
        attempts.append(_put(store, _reduced(upload, option), option))
        if not _is_worth_another_try(attempts[-1]):
            break
    trial = replace(trial, attempts=tuple(attempts))
    if trial.last.error is not None:
        return trial
    is_proved = md5_of_etag(trial.last.etag) == _md5(body)
    return replace(
        trial,
        described=_describe(store, upload.key),
        stored=None if is_proved else _read_back(store, upload.key),
        created_again=_put_again(store, _reduced(upload, trial.last)),
        lock=_ask_for_lock(settings),
    )


def speaks_s3(settings: Settings) -> bool:
    """Whether a signed request gets an answer of S3's where an unsigned one is sent elsewhere; no redirect is followed."""
    try:
        _, content = SignedRequests(settings).ask("GET", {"list-type": "2", "max-keys": "1"})
    except SignedRequestError:
        return False
    return b"<ListBucketResult" in content or b"<Code>" in content


def _store(settings: Settings, environ: MutableMapping[str, str]) -> ObjectStore:
    """Raises StoreError."""
    return ObjectStore(settings, environ, is_lenient=False)


def _is_hopeless(error: StoreError) -> bool:
    if error.status is None and not error.code:
        return True  # nobody answers
    return error.code in _CHECK_OF_CODE and blame(error) in _HOPELESS


def _options(settings: Settings) -> list[Attempt]:
    """What is sent: everything, then all but one thing, then nothing that can be left out."""
    everything = Attempt(
        settings.effective_storage_class,
        settings.preset.sha256_checksum,
        with_tags=bool(tags_for(settings)),
        with_sse=settings.sse is not None,
    )
    options = [
        everything,
        replace(everything, with_tags=False),
        replace(everything, storage_class=None),
        replace(everything, with_sse=False),
        replace(everything, with_checksum=False),
        Attempt(None, False),
    ]
    return list(dict.fromkeys(options))


def _reduced(upload: Upload, option: Attempt) -> Upload:
    return replace(upload, storage_class=option.storage_class, tags=upload.tags if option.with_tags else {})


def _is_worth_another_try(attempt: Attempt) -> bool:
    """Whether leaving something out may help: S3 answered, and blamed nothing else."""
    error = attempt.error
    if error is None or error.status is None or error.status in {408, 429, 502, 503, 504}:
        return False
    if attempt.with_tags and error.status == 403 and blame(error) == "put":
        return True  # a key that may put, but not tag, is refused like one that may not put
    return blame(error) in {"", "storage class", "encryption"}


def without(settings: Settings, environ: Mapping[str, str], option: Attempt) -> Settings:
    """The same requests to the same place, without the headers that the attempt leaves out."""
    less = dict(environ)
    if not option.with_sse and settings.sse is not None:
        for name in ("S3_SSE", "S3_SSE_KMS_KEY_ID"):
            less = {k: v for k, v in less.items() if k not in {name, f"{name}_FILE"}}
    if option.with_checksum != settings.preset.sha256_checksum:
        style = "virtual" if settings.virtual_host else "path"
        less = {k: v for k, v in less.items() if k not in {"S3_PROVIDER_FILE", "S3_ADDRESSING_STYLE_FILE"}}
        less |= {"S3_PROVIDER": "other", "S3_ADDRESSING_STYLE": style}
    return settings if less == dict(environ) else load(less).settings


def _put(store: ObjectStore, upload: Upload, option: Attempt) -> Attempt:
    """A server error is asked about once more: a single one is no diagnosis."""
    attempt = _put_once(store, upload, option)
    error = attempt.error
    if error is not None and error.status is not None and error.error_class is ErrorClass.TRANSIENT:
        time.sleep(_PAUSE)
        attempt = _put_once(store, upload, option)
    return attempt


def _put_once(store: ObjectStore, upload: Upload, option: Attempt) -> Attempt:
    try:
        return replace(option, etag=store.put(upload))
    except StoreError as error:
        return replace(option, error=error)


def _describe(store: ObjectStore, key: str) -> Stored | StoreError:
    try:
        return store.describe(key)
    except StoreError as error:
        return error


def _read_back(store: ObjectStore, key: str) -> bytes | StoreError:
    try:
        return store.get(key)
    except StoreError as error:
        return error


def _put_again(store: ObjectStore, upload: Upload) -> bool | StoreError:
    try:
        store.put(upload, create=True)
    except StoreError as error:
        return False if error.status == 412 else error
    return True


def _list(store: ObjectStore, prefix: str) -> StoreError | None:
    try:
        store.may_list(prefix)
    except StoreError as error:
        return error
    return None


def _ask_for_lock(settings: Settings) -> LockSeen:
    try:
        status, content = SignedRequests(settings).ask("GET", {"object-lock": ""})
    except SignedRequestError as error:
        return LockSeen(why=f"It could not be asked for. {error}")
    if status == 200 and b"<ObjectLockEnabled>Enabled" in content:
        return LockSeen(is_on=True)
    if b"ObjectLockConfigurationNotFound" in content:
        return LockSeen(is_on=False)
    if status in {401, 403}:
        return LockSeen(why="The key may not ask for it, which is fine.")
    return LockSeen(why=f"The server does not tell of it (status {status}).")


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


# -- what it means -----------------------------------------------------------------------------------------------------


def blame(error: StoreError) -> str:
    """The check that this answer of S3 fails, or "" when it does not say."""
    if error.code == "InvalidArgument" and error.error_class is ErrorClass.CONFIGURATION:
        return "storage class"
    if error.code in _CHECK_OF_CODE:
        return _CHECK_OF_CODE[error.code]
    if error.status is None and error.error_class is ErrorClass.CONFIGURATION and "credentials" in str(error):
        return "credentials"
    return _CHECK_OF_STATUS.get(error.status or 0, "")


def judge_bucket(settings: Settings, trial: Trial, bucket_region: str | None) -> list[Finding]:
    """One finding for each of NAMES."""
    error = trial.error
    if error is None:
        region = judge_region(settings.region, bucket_region, None, is_blamed=False)
        return [region, *_judge_success(settings, trial)]
    culprit = _culprit(trial, error)
    findings = [judge_region(settings.region, bucket_region, error, is_blamed=culprit == "region")]
    for name in NAMES[1:]:
        if name == culprit:
            findings.append(failed(name, seen_of(error), _fix(name, settings, error)))
        else:
            findings.append(_seen_before(name, settings, trial, error, culprit) or skipped(name, f"Needs {culprit}."))
    return findings


def _culprit(trial: Trial, error: StoreError) -> str:
    found = blame(error) or "put"
    sent = {
        "storage class": bool(trial.attempts) and trial.last.storage_class is not None,
        "encryption": bool(trial.attempts) and trial.last.with_sse,
    }
    if found not in NAMES or not sent.get(found, True):  # the clock has a finding of its own
        return "put"
    return "put" if found == "bucket" and trial.is_listed else found


def _seen_before(name: str, settings: Settings, trial: Trial, error: StoreError, culprit: str) -> Finding | None:
    """What was seen to be well although nothing could be written."""
    has_accepted = trial.is_listed or (error.is_from_s3 and error.code in _AFTER_SIGNATURE)
    if name == "credentials" and has_accepted and culprit not in {"region", "clock"}:
        return ok(name, _CREDENTIALS)
    if name == "bucket" and trial.is_listed:
        return ok(name, f"{settings.bucket} is there.")
    if name == "list" and trial.is_listed:
        return judge_list(None)
    return None


_CREDENTIALS = "S3 accepts the access key and its signature."


def judge_region(configured: str, told: str | None, error: StoreError | None, *, is_blamed: bool) -> Finding:
    """Whether S3_REGION is the bucket's region, as the server tells it in a header or by refusing."""
    if error is not None and is_blamed:
        fix = f"Set S3_REGION={told}." if told and told != configured else fix_of(error)
        return failed("region", seen_of(error), fix)
    if told and told != configured:
        seen = f"The server says that the bucket is in {told}, and S3_REGION is {configured}."
        if error is None:
            return warning("region", f"{seen} It accepted the upload all the same.", f"Set S3_REGION={told}.")
        return failed("region", seen, f"Set S3_REGION={told}.")
    if told:
        return ok("region", f"{configured}, as the server says.")
    if error is None:
        return ok("region", f"{configured} is accepted.")
    return skipped("region", "The server does not tell the bucket's region.")


def redirected(bucket_region: str | None) -> StoreError:
    """What AWS' 301 to an unsigned request says already: the bucket is elsewhere, and no upload is worth a try."""
    place = f" ({bucket_region})" if bucket_region else ""
    sentence = f"S3 says PermanentRedirect, the bucket is in another region{place}: set S3_REGION."
    return StoreError(ErrorClass.CONFIGURATION, sentence, code="PermanentRedirect", status=301)


def _judge_success(settings: Settings, trial: Trial) -> Iterator[Finding]:
    yield ok("credentials", _CREDENTIALS)
    yield ok("bucket", f"{settings.bucket} is there.")
    wrote = f"Wrote {trial.key} ({format_size(len(trial.body))})."
    yield ok("put", f"{wrote} It stays there; nothing is ever deleted, each run reuses this key.")
    yield judge_metadata(trial)
    yield judge_storage_class(settings, trial)
    yield judge_tags(settings, trial)
    yield judge_encryption(settings, trial)
    yield judge_checksum(settings, trial)
    yield judge_lock(trial.lock)
    yield judge_conditional_put(trial.created_again)
    yield judge_list(trial.listing)


def judge_metadata(trial: Trial) -> Finding:
    """Whether the server keeps what `verify`, `restore` and `rebuild` live on."""
    name, seen = "metadata", trial.described
    if isinstance(seen, StoreError):
        if seen.status in {401, 403}:
            return skipped(name, "Not looked at: the key may not read (s3:GetObject), which is fine.")
        return skipped(name, f"Not looked at. {seen_of(seen)}")
    if seen is None:
        return skipped(name, "Not looked at.")
    lost = sorted(key for key, value in trial.metadata.items() if seen.metadata.get(key) != value)
    if not lost:
        return ok(name, "The server keeps it: event, camera, label and SHA-256 are read back as sent.")
    what = "all of it" if len(lost) == len(trial.metadata) else ", ".join(lost)
    return warning(
        name,
        f"The server loses {what}: event ids and checksums are not in the bucket, so that after the loss of this machine "
        "`restore` cannot verify what it brings back.",
        "Keep the ledger in your backups, or use a server that stores x-amz-meta headers.",
    )


def judge_storage_class(settings: Settings, trial: Trial) -> Finding:
    """Whether the class was accepted, for an upload that succeeded in the end."""
    name, wanted, first = "storage class", settings.effective_storage_class, trial.attempts[0].error
    if wanted is None:
        return skipped(name, "None is sent; the server uses its own.")
    if name not in trial.left_out or first is None:
        return ok(name, f"{wanted} is accepted.")
    if "checksum" in trial.left_out and blame(first) != name:
        return skipped(name, "Needs checksum.")
    if settings.storage_class is not None:
        fix = "Remove S3_STORAGE_CLASS, or set it to a class that this server has (most have STANDARD)."
    else:
        fix = "Set S3_STORAGE_CLASS to a class that this server has (most have STANDARD), or S3_PROVIDER to its kind."
    return failed(name, f"{wanted} is refused, without it all is well. {seen_of(first)}", fix)


def judge_tags(settings: Settings, trial: Trial) -> Finding:
    """Whether what S3_LIVE_RETENTION_DAYS and S3_CLIP_RETENTION_DAYS need was accepted."""
    name, first = "tags", trial.attempts[0].error
    if not tags_for(settings):
        return skipped(name, "None are sent: no setting needs them.")
    if name not in trial.left_out or first is None:
        return ok(name, "Accepted.")
    if "checksum" in trial.left_out:
        return skipped(name, "Needs checksum.")
    days = {
        "S3_LIVE_RETENTION_DAYS": settings.live_retention_days,
        "S3_CLIP_RETENTION_DAYS": settings.clip_retention_days,
    }
    needing = " and ".join(variable for variable, value in days.items() if value is not None)
    allow = f"Allow the key s3:PutObjectTagging, or remove {needing}."
    fix = (
        allow
        if first.status == 403
        else f"Remove {needing}: this server takes no tags, by which the bucket would tell these objects apart."
    )
    return failed(name, f"The tag that {needing} needs is refused, without it all is well. {seen_of(first)}", fix)


def judge_encryption(settings: Settings, trial: Trial) -> Finding:
    """Whether S3_SSE was accepted."""
    name, first = "encryption", trial.attempts[0].error
    if settings.sse is None:
        return skipped(name, "S3_SSE is not set; the bucket's own default counts.")
    if name not in trial.left_out or first is None:
        return ok(name, f"{settings.sse} is accepted.")
    if "checksum" in trial.left_out:
        return skipped(name, "Needs checksum.")
    fix = "Set S3_SSE_KMS_KEY_ID to a KMS key that is enabled and that this access key may use, or remove S3_SSE."
    return failed(
        name,
        f"S3_SSE={settings.sse} is refused, without it all is well. {seen_of(first)}",
        fix if "kms" in settings.sse else "Remove S3_SSE: this server does not encrypt on demand.",
    )


def judge_checksum(settings: Settings, trial: Trial) -> Finding:
    """Whether the checksum was accepted, and what the server stored is what was sent."""
    name = "checksum"
    refused = [attempt.error for attempt in trial.attempts if attempt.with_checksum and attempt.error is not None]
    if settings.preset.sha256_checksum and not trial.last.with_checksum and refused:
        return failed(
            name,
            f"The SHA-256 checksum is refused, without it all is well. {seen_of(refused[-1])}",
            "Set S3_PROVIDER=other: no checksum header is sent then, and the signature still covers the body.",
        )
    return _judge_stored(trial)


def _judge_stored(trial: Trial) -> Finding:
    """What the server stored, by its ETag or by what was read back."""
    name = "checksum"
    sent = "SHA-256 is accepted" if trial.last.with_checksum else "The signature covers the body, no header is sent"
    if isinstance(trial.described, Stored) and trial.described.size_bytes != len(trial.body):
        return _stored_wrong(f"The server stored {trial.described.size_bytes:,} bytes of {len(trial.body):,}.")
    if md5_of_etag(trial.last.etag) == _md5(trial.body):
        return ok(name, f"{sent}; the ETag is the MD5 of what was sent.")
    if trial.stored == trial.body:
        return ok(name, f"{sent}; the ETag is no MD5 (encrypted bucket?), and what was read back is right.")
    if isinstance(trial.stored, bytes):
        return _stored_wrong("The server stored something else than was sent.")
    if trial.last.with_checksum:
        return ok(name, f"{sent}; the ETag is no MD5 (encrypted bucket?), and reading back is not allowed.")
    return skipped(name, f"{sent}; the ETag is no MD5 (encrypted bucket?), and nothing could be read back to compare.")


def _stored_wrong(seen: str) -> Finding:
    fix = "Look for a proxy or gateway before the server that changes bodies, and update the server."
    return failed("checksum", seen, fix)


def judge_lock(seen: LockSeen) -> Finding:
    """Whether the bucket keeps what it has; the mirror works with and without."""
    if seen.is_on is None:
        return skipped("object lock", seen.why or "Not asked for.")
    if seen.is_on:
        return ok(
            "object lock", "On: the upload was accepted, and what is in the bucket stays for as long as its rule says."
        )
    return ok("object lock", "Off; docs/immutable-bucket.md tells what it is good for.")


def judge_conditional_put(created_again: bool | StoreError | None) -> Finding:  # noqa: FBT001
    """Whether `If-None-Match: *` is honoured; the mirror does not depend on it."""
    name = "conditional put"
    if created_again is False:
        return ok(name, "Supported: the server refuses to overwrite when asked to.")
    if created_again is True:
        return ok(name, "Not supported: the server ignores the condition. The mirror does not need it.")
    if isinstance(created_again, StoreError) and (
        created_again.code == "NotImplemented" or created_again.status == 501
    ):
        return ok(name, "Not supported: the server says so. The mirror does not need it.")
    said = f" {seen_of(created_again)}" if isinstance(created_again, StoreError) else ""
    return skipped(name, f"Unknown; the mirror does not need it.{said}")


def judge_list(error: StoreError | None) -> Finding:
    """Whether the key may list, which is no need of the service."""
    if error is None:
        return ok("list", "Allowed; only `verify` needs it.")
    if error.status in {401, 403}:
        return ok("list", "Not allowed, which is fine: only `verify` needs it (s3:ListBucket).")
    return skipped("list", f"Unknown; only `verify` needs it. {seen_of(error)}")


def _fix(name: str, settings: Settings, error: StoreError) -> str:
    """What to do, with this user's bucket and prefix where that says more."""
    match name, error.code:
        case "bucket", "NoSuchBucket":
            return f"Create the bucket '{settings.bucket}', or correct S3_BUCKET or S3_ENDPOINT_URL."
        case "put", "AccessDenied":
            below = f"{settings.path_prefix}/*" if settings.path_prefix else "*"
            more = " With S3_SSE=aws:kms it needs kms:GenerateDataKey, too." if "kms" in (settings.sse or "") else ""
            return f"Allow the key s3:PutObject on arn:aws:s3:::{settings.bucket}/{below}.{more}"
    return fix_of(error)
