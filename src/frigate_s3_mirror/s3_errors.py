"""What each error of S3 means for the next try: one table, from the server's `<Code>`, the status, and what is no answer.

Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and what rclone, moto and Ceph answered in our
tests. docs/errors.md shows the same table.
"""

from __future__ import annotations

import re

from obstore.exceptions import AlreadyExistsError

from frigate_s3_mirror.retry import ErrorClass

_CONFIGURATION, _TRANSIENT, _OBJECT = ErrorClass.CONFIGURATION, ErrorClass.TRANSIENT, ErrorClass.OBJECT
CODES: dict[str, tuple[ErrorClass, str]] = {
    "AccessDenied": (_CONFIGURATION, "the key may not write here; allow s3:PutObject on the bucket and prefix"),
    "AccountProblem": (_CONFIGURATION, "the account has a problem; look at the provider's console"),
    "AllAccessDisabled": (_CONFIGURATION, "access to the bucket is disabled; look at the provider's console"),
    "AuthorizationHeaderMalformed": (_CONFIGURATION, "the region does not fit the bucket; set S3_REGION"),
    "IllegalLocationConstraintException": (_CONFIGURATION, "the region does not fit the bucket; set S3_REGION"),
    "InvalidAccessKeyId": (_CONFIGURATION, "S3 does not know this access key; check S3_ACCESS_KEY"),
    "InvalidBucketName": (_CONFIGURATION, "this is not a valid bucket name; check S3_BUCKET"),
    "InvalidStorageClass": (_CONFIGURATION, "the server lacks this storage class; check S3_STORAGE_CLASS"),
    "KMS.DisabledException": (_CONFIGURATION, "the KMS key is disabled; check S3_SSE_KMS_KEY_ID"),
    "KMS.NotFoundException": (_CONFIGURATION, "the KMS key does not exist; check S3_SSE_KMS_KEY_ID"),
    "NoSuchBucket": (_CONFIGURATION, "there is no such bucket; create it, or check S3_BUCKET and S3_ENDPOINT_URL"),
    "NotImplemented": (
        _CONFIGURATION,
        "the server lacks something that was asked for; check S3_STORAGE_CLASS, S3_SSE and S3_PROVIDER",
    ),
    "NotSignedUp": (_CONFIGURATION, "the account is not signed up for S3"),
    "PermanentRedirect": (_CONFIGURATION, "the bucket is in another region; check S3_REGION and S3_ENDPOINT_URL"),
    "QuotaExceeded": (_CONFIGURATION, "the quota is used up; free space or raise it"),
    "SignatureDoesNotMatch": (_CONFIGURATION, "the signature is wrong; check S3_SECRET_KEY and S3_REGION"),
    "ExpiredToken": (_TRANSIENT, "the credentials expired and will be renewed"),
    "RequestTimeTooSkewed": (_TRANSIENT, "the clock of this machine is wrong; set it right (NTP)"),
    "SlowDown": (_TRANSIENT, "S3 asks to slow down"),
    "RequestTimeout": (_TRANSIENT, "the connection is too slow or broke"),
    "OperationAborted": (_TRANSIENT, "another request was in the way"),
    "BadDigest": (_TRANSIENT, "the body was damaged on its way"),
    "EntityTooLarge": (_OBJECT, "the file is larger than the server takes"),
    "KeyTooLongError": (_OBJECT, "the key is longer than 1024 bytes; shorten S3_PATH_PREFIX or S3_KEY_TEMPLATE"),
    "MetadataTooLarge": (_OBJECT, "the metadata is larger than 2 KB"),
    "InvalidArgument": (_OBJECT, "the server refuses this object"),
    "InvalidRequest": (_OBJECT, "the server refuses this object"),
    "KeyTooLong": (_OBJECT, "the key is longer than 1024 bytes; shorten S3_PATH_PREFIX or S3_KEY_TEMPLATE"),
}
"""The server's `<Code>`: class and advice."""
STATUSES: tuple[tuple[frozenset[int], ErrorClass, str], ...] = (
    (frozenset({301}), _CONFIGURATION, "check S3_REGION and S3_ENDPOINT_URL"),
    (frozenset({401, 403}), _CONFIGURATION, "check S3_ACCESS_KEY, S3_SECRET_KEY and what the key may do"),
    (frozenset({404}), _CONFIGURATION, "check S3_BUCKET and S3_ENDPOINT_URL"),
    (frozenset({408, 409, 425, 429, *range(500, 600)}), _TRANSIENT, "it will be tried again"),
    (frozenset({411, 413, 414, 431}), _OBJECT, "the server refuses this object"),
)
"""The HTTP status, for codes that are not above."""
NO_ANSWER: tuple[tuple[tuple[str, ...], ErrorClass, str], ...] = (
    (("169.254.169.254", "missing credentials", "no credential"), _CONFIGURATION,
     "No credentials were found: set S3_ACCESS_KEY and S3_SECRET_KEY."),
    (("certificate",), _CONFIGURATION,
     "The server's certificate is not trusted: for a private authority set S3_CA_BUNDLE to its PEM file."),
    (("dns error", "lookup address"), _TRANSIENT,
     "The S3 host name is not found (DNS): check the network and S3_ENDPOINT_URL."),
    (("connection refused", "os error 111"), _TRANSIENT,
     "The S3 server refuses connections: is it running, and is S3_ENDPOINT_URL right?"),
    (("timed out", "timeout"), _TRANSIENT, "S3 did not answer in time."),
)  # fmt: skip
"""Words in an error without any answer of S3, the first that fit count."""
UNKNOWN = "it will be tried again"
"""What is in no table is transient: trying again is the harmless mistake."""


class StoreError(Exception):
    """A request to S3 failed: what it means for the next try, what S3 said, and what a person can do."""

    def __init__(self, error_class: ErrorClass, sentence: str, *, code: str = "", status: int | None = None) -> None:
        super().__init__(sentence)
        self.error_class = error_class
        self.code = code
        self.status = status

    @property
    def asks_for_less(self) -> bool:
        """Whether the server wants fewer requests."""
        return self.status == 429 or self.code in {"SlowDown", "TooManyRequests", "RequestLimitExceeded"}


def classify(error: Exception, bucket: str = "") -> StoreError:
    """Say once what an error means."""
    if isinstance(error, AlreadyExistsError):
        return StoreError(_OBJECT, "There is an object under this key already.", status=412)
    text = str(error)
    code = _between(text, r"<Code>([^<]{1,80})</Code>")
    message = _between(text, r"<Message>([^<]{1,300})</Message>")
    found = re.search(r"status(?: code)?: (\d{3})", text)
    status = int(found.group(1)) if found else None
    if status is None and not code:
        return _without_answer(error)
    error_class, advice = _meaning(code, status, message)
    said = f"S3 says {code or f'status {status}'}" + (f" ({message.rstrip('.')})" if message else "")
    name = f" '{bucket}'" if code == "NoSuchBucket" and bucket else ""
    return StoreError(error_class, f"{said}: {advice}{name}.", code=code, status=status)


def _meaning(code: str, status: int | None, message: str) -> tuple[ErrorClass, str]:
    if code == "InvalidArgument" and "torage" in message:
        return _CONFIGURATION, "check S3_STORAGE_CLASS"
    if code in CODES:
        return CODES[code]
    if status == 400 and not code:
        return _OBJECT, "the server refuses this object"
    for statuses, error_class, advice in STATUSES:
        if status in statuses:
            return error_class, advice
    return _TRANSIENT, UNKNOWN


def _without_answer(error: Exception) -> StoreError:
    """Errors before any answer of S3: credentials, TLS, DNS, refused or broken connections, files that break off."""
    if isinstance(error, OSError):
        return StoreError(_OBJECT, f"The file cannot be read ({error.strerror or error}).")
    text = str(error).lower()
    for words, error_class, sentence in NO_ANSWER:
        if any(word in text for word in words):
            return StoreError(error_class, sentence)
    return StoreError(_TRANSIENT, f"The connection to S3 failed ({first_line(error)}).")


def _between(text: str, pattern: str) -> str:
    match = re.search(pattern, text)
    return match.group(1).strip() if match else ""


def first_line(error: Exception) -> str:
    """The error in a line."""
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return line.strip().rstrip(".")[:300]
