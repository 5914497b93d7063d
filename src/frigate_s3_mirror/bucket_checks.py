"""The checks of `doctor` on the bucket: one small object is put as a snapshot would be, and S3's answers are judged.

What may be wrong is found by leaving one thing out at a time: first everything is sent, then no storage class, then no
checksum. The object stays, for nothing is ever deleted; every run writes the same key.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace

from frigate_s3_mirror import __version__
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.finding import Finding, failed, ok, skipped, warning
from frigate_s3_mirror.keys import encode_metadata, own_key, site_name
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3 import ObjectStore, Upload, md5_of_etag
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.units import format_size

NAMES = ("region", "credentials", "bucket", "put", "storage class", "checksum", "conditional put", "list")
"""The checks of this module, in their order."""
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
    "put": {"AccessDenied", "QuotaExceeded", "KMS.DisabledException", "KMS.NotFoundException"},
    "storage class": {"InvalidStorageClass"},
}  # fmt: skip
_CHECK_OF_CODE = {code: check for check, codes in _BLAME.items() for code in codes}
_CHECK_OF_STATUS = {301: "region", 307: "region", 401: "credentials", 403: "put", 404: "bucket"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One PUT of the small object, what was sent with it, and how S3 answered."""

    storage_class: str | None
    with_checksum: bool
    etag: str = ""
    error: StoreError | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """All that was tried and answered."""

    key: str
    body: bytes
    attempts: tuple[Attempt, ...]
    stored: bytes | StoreError | None = None
    """What was read back; only asked for when the ETag looks like an MD5 and is another."""
    created_again: bool | StoreError | None = None
    """Whether a conditional PUT of the key that is there was carried out; None when it was not tried."""
    listing: StoreError | None = None
    """Why the listing was refused, None when it was given or not asked for."""

    @property
    def last(self) -> Attempt:
        """The attempt that succeeded, or the last one."""
        return self.attempts[-1]


def key_of(settings: Settings) -> str:
    """The key of the small object."""
    return own_key(settings, f"doctor-{site_name(settings)}.json")


def upload_for(settings: Settings, now: float) -> Upload:
    """The small object, with metadata like a snapshot's: one value is not ASCII and travels percent-encoded."""
    body = json.dumps({"site": settings.site, "version": __version__, "at": round(now, 3)}).encode()
    metadata = {
        "event-id": f"{now:.6f}-doctor",
        "camera": "doctor",
        "label": encode_metadata("Prüfung ☃"),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return Upload(
        key_of(settings), body, len(body), "application/json", metadata, settings.effective_storage_class
    )  # fmt: skip


# -- asking S3 ---------------------------------------------------------------------------------------------------------


def try_bucket(settings: Settings, environ: MutableMapping[str, str], now: float) -> Trial:
    """Put the small object, put it again on condition, list a page. Raises StoreError when there can be no client."""
    upload = upload_for(settings, now)
    body = bytes(upload.body) if isinstance(upload.body, bytes) else b""
    store = ObjectStore(settings, environ, is_lenient=False)
    attempts: list[Attempt] = []
    for option in _options(settings):
        if option.with_checksum != settings.preset.sha256_checksum:
            store = ObjectStore(without_checksum(settings, environ), environ, is_lenient=False)
        upload = replace(upload, storage_class=option.storage_class)
        attempts.append(_put(store, upload, option))
        if not _is_worth_another_try(attempts[-1]):
            break
    trial = Trial(upload.key, body, tuple(attempts))
    if trial.last.error is not None:
        return trial
    claimed = md5_of_etag(trial.last.etag)
    stored = _read_back(store, upload.key) if claimed is not None and claimed != _md5(body) else None
    created_again, listing = _put_again(store, upload), _list(store, settings.path_prefix)
    return replace(trial, stored=stored, created_again=created_again, listing=listing)


def _options(settings: Settings) -> list[Attempt]:
    """What is sent, from everything to the least."""
    storage_class, checksum = settings.effective_storage_class, settings.preset.sha256_checksum
    options = [Attempt(storage_class, checksum), Attempt(None, checksum), Attempt(None, False)]
    return list(dict.fromkeys(options))


def _is_worth_another_try(attempt: Attempt) -> bool:
    """Whether leaving something out may help: S3 answered, and blamed nothing else."""
    return (
        attempt.error is not None and attempt.error.status is not None and blame(attempt.error) in {"", "storage class"}
    )


def without_checksum(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The same requests to the same place, without the checksum header that the preset sends."""
    style = "virtual" if settings.virtual_host else "path"
    return load({**environ, "S3_PROVIDER": "other", "S3_ADDRESSING_STYLE": style}).settings


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
    error = trial.last.error
    culprit = "" if error is None else blame(error) or "put"
    if culprit not in NAMES:  # the clock, which has a finding of its own, or a storage class that was not sent
        culprit = "put"
    if culprit == "storage class" and trial.last.storage_class is None:
        culprit = "put"
    region = judge_region(settings.region, bucket_region, error, is_blamed=culprit == "region")
    findings = [region]
    for name in NAMES[1:]:
        if error is None:
            findings.append(_judge_success(name, settings, trial))
        elif name == culprit:
            findings.append(_judge_failure(name, settings, error))
        elif name == "credentials" and culprit in {"bucket", "put"} and error.is_from_s3:
            findings.append(ok(name, _CREDENTIALS))
        else:
            findings.append(skipped(name, f"Needs {culprit}."))
    return findings


_CREDENTIALS = "S3 knows the access key and accepts the signature."


def judge_region(configured: str, told: str | None, error: StoreError | None, *, is_blamed: bool) -> Finding:
    """Whether S3_REGION is the bucket's region, as the server tells it in a header or by refusing."""
    if error is not None and is_blamed:
        fix = f"Set S3_REGION={told}." if told and told != configured else advice_of(error)
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


def _judge_success(name: str, settings: Settings, trial: Trial) -> Finding:
    wrote = f"Wrote {trial.key} ({format_size(len(trial.body))})."
    findings = {
        "credentials": ok(name, _CREDENTIALS),
        "bucket": ok(name, f"{settings.bucket} is there."),
        "put": ok(name, f"{wrote} It stays there; nothing is ever deleted, each run reuses this key."),
        "storage class": judge_storage_class(settings, trial),
        "checksum": judge_checksum(settings, trial),
        "conditional put": judge_conditional_put(trial.created_again),
        "list": judge_list(trial.listing),
    }
    return findings[name]


def judge_storage_class(settings: Settings, trial: Trial) -> Finding:
    """Whether the class was accepted, for an upload that succeeded in the end."""
    wanted = settings.effective_storage_class
    if wanted is None:
        return ok("storage class", "None is sent; the server uses its own.")
    first = trial.attempts[0].error
    if first is None:
        return ok("storage class", f"{wanted} is accepted.")
    if trial.last.with_checksum != trial.attempts[0].with_checksum and blame(first) != "storage class":
        return skipped("storage class", "Needs checksum.")
    if settings.storage_class is not None:
        fix = "Remove S3_STORAGE_CLASS, or set it to a class that this server has (most have STANDARD)."
    else:
        fix = "Set S3_STORAGE_CLASS to a class that this server has (most have STANDARD), or S3_PROVIDER to its kind."
    return failed("storage class", f"{wanted} is refused, without it all is well. {seen_of(first)}", fix)


def judge_checksum(settings: Settings, trial: Trial) -> Finding:
    """Whether the checksum was accepted and the ETag speaks of what was sent, for an upload that succeeded."""
    refused = [attempt.error for attempt in trial.attempts if attempt.with_checksum and attempt.error is not None]
    if settings.preset.sha256_checksum and not trial.last.with_checksum and refused:
        return failed(
            "checksum",
            f"The SHA-256 checksum is refused, without it all is well. {seen_of(refused[-1])}",
            "Set S3_PROVIDER=other: no checksum header is sent then, and the signature still covers the body.",
        )
    sent = "SHA-256 is accepted" if trial.last.with_checksum else "The signature covers the body, no header is sent"
    claimed = md5_of_etag(trial.last.etag)
    if claimed is None:
        return ok("checksum", f"{sent}; the ETag is no MD5.")
    if claimed == _md5(trial.body):
        return ok("checksum", f"{sent}; the ETag is the MD5 of what was sent.")
    if trial.stored == trial.body:
        return ok("checksum", f"{sent}; the ETag is no MD5 (encrypted bucket?), and what was read back is right.")
    if isinstance(trial.stored, bytes):
        return failed(
            "checksum",
            "The server stored something else than was sent.",
            "Look for a proxy or gateway before the server that changes bodies, and update the server.",
        )
    return ok("checksum", f"{sent}; the ETag is no MD5 (encrypted bucket?), and reading back is not allowed.")


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


def _judge_failure(name: str, settings: Settings, error: StoreError) -> Finding:
    return failed(name, seen_of(error), _fix(name, settings, error))


def _fix(name: str, settings: Settings, error: StoreError) -> str:
    """What to do, more exactly than S3's error alone can say; else the advice that belongs to the error."""
    match name, error.code:
        case "bucket", "NoSuchBucket":
            return f"Create the bucket '{settings.bucket}', or correct S3_BUCKET or S3_ENDPOINT_URL."
        case "credentials", "SignatureDoesNotMatch":
            return "Copy S3_SECRET_KEY again, whole; if it is right, check S3_REGION."
        case "credentials", "InvalidAccessKeyId":
            return "Copy S3_ACCESS_KEY again, whole; it must be a key of this server or account (S3_ENDPOINT_URL)."
        case "put", "AccessDenied":
            below = f"{settings.path_prefix}/*" if settings.path_prefix else "*"
            more = " With S3_SSE=aws:kms it needs kms:GenerateDataKey, too." if "kms" in (settings.sse or "") else ""
            return f"Allow the key s3:PutObject on arn:aws:s3:::{settings.bucket}/{below}.{more}"
    return advice_of(error)


def seen_of(error: StoreError) -> str:
    """The first half of a store error's sentence: what S3 said."""
    return _halves(error)[0]


def advice_of(error: StoreError) -> str:
    """The second half: what a person can do."""
    return _halves(error)[1]


def _halves(error: StoreError) -> tuple[str, str]:
    sentence = str(error).rstrip(".")
    said, mark, advice = sentence.rpartition("): ") if "): " in sentence else sentence.partition(": ")
    if not mark:
        return f"{sentence}.", "Run the doctor again; if it stays so, look into the log of the S3 server."
    said += ")" if mark == "): " else ""
    return f"{said}.", f"{advice[:1].upper()}{advice[1:].rstrip('?.')}{'?' if sentence.endswith('?') else '.'}"
