"""What a person can do about each error of S3, for `doctor`: an action in every case, and never "it will be tried again"."""

from __future__ import annotations

from frigate_s3_mirror.s3_errors import StoreError

_LOG = "Look into the log of the S3 server for this request; if it has none of it, another program answers: correct S3_ENDPOINT_URL."
_LOCK = "Set S3_PROVIDER=aws: a checksum then goes with each upload, as the bucket's Object Lock asks."
_SHORTEN_KEY = "Shorten S3_PATH_PREFIX or S3_KEY_TEMPLATE."
_LESS = "Set S3_UPLOAD_THREADS lower, see whether others keep the server busy, and run the doctor again."
_LINE = "Check the line to S3, its MTU included, and set S3_UPLOAD_THREADS lower on a slow one."
_FULL = "Look at the S3 server and its log: a full disk or missing nodes are the usual reasons."
_ODD = (
    "Read what the server says above; set S3_PROVIDER to its kind, and leave out S3_SSE, S3_STORAGE_CLASS and the retention settings "
    "until it passes."
)
_KMS = "Set S3_SSE_KMS_KEY_ID to a KMS key that is enabled and that this access key may use."
_BY_CODE = {
    "AccessDenied": "Allow the key s3:PutObject on the bucket and prefix; `iam-policy` prints the policy.",
    "AccountProblem": "Look at the provider's console: the account is blocked, or a bill is open.",
    "AllAccessDisabled": "Look at the provider's console, or ask its support: access to the bucket is disabled.",
    "AuthorizationHeaderMalformed": "Set S3_REGION to the bucket's region.",
    "BadDigest": "Look for a proxy or gateway before the server that changes bodies, and check this machine's memory.",
    "EntityTooLarge": "Raise the largest body that the server, or a proxy before it, takes (nginx: client_max_body_size).",
    "ConditionalRequestConflict": "Run the doctor again; if it stays so, look for another program that writes the same key.",
    "ExpiredToken": "Renew the credentials; with a role, see why nothing hands out new ones.",
    "IllegalLocationConstraintException": "Set S3_REGION to the bucket's region.",
    "InternalError": _FULL,
    "InvalidAccessKeyId": "Copy S3_ACCESS_KEY again, whole; it must be a key of this server or account (S3_ENDPOINT_URL).",
    "InvalidArgument": _ODD,
    "InvalidBucketName": "Correct S3_BUCKET: 3 to 63 small letters, digits, dots and hyphens.",
    "InvalidRequest": _ODD,
    "InvalidToken": "Renew the credentials; with a role, see why nothing hands out new ones.",
    "InvalidStorageClass": "Remove S3_STORAGE_CLASS, or set it to a class that this server has (most have STANDARD).",
    "KMS.DisabledException": _KMS,
    "KMS.NotFoundException": _KMS,
    "KeyTooLong": _SHORTEN_KEY,
    "KeyTooLongError": _SHORTEN_KEY,
    "MetadataTooLarge": "Raise the largest header that the server, or a proxy before it, takes; the mirror sends less than 2 KB.",
    "MethodNotAllowed": "Set S3_ENDPOINT_URL to the server's S3 port: what answers there takes no uploads.",
    "MissingUploadObjectWithObjectLockHeaders": _LOCK,
    "NoSuchBucket": "Create the bucket, or correct S3_BUCKET or S3_ENDPOINT_URL.",
    "NotImplemented": "Remove S3_STORAGE_CLASS, S3_SSE and the retention settings one after the other, or set S3_PROVIDER to the server's kind.",
    "NotSignedUp": "Sign the account up for S3 in the provider's console.",
    "OperationAborted": "Run the doctor again; if it stays so, look for another program that changes the bucket's configuration.",
    "PermanentRedirect": "Set S3_REGION to the bucket's region, or S3_ENDPOINT_URL to its endpoint.",
    "PreconditionFailed": "Remove the object of this key, or see who else writes it.",
    "QuotaExceeded": "Free space in the bucket, or raise its quota.",
    "RequestLimitExceeded": _LESS,
    "RequestTimeTooSkewed": "Set this machine's clock right (NTP).",
    "RequestTimeout": _LINE,
    "ServiceUnavailable": _FULL,
    "SignatureDoesNotMatch": "Copy S3_SECRET_KEY again, whole; if it is right, check S3_REGION.",
    "SlowDown": _LESS,
    "TemporaryRedirect": "Set S3_REGION to the bucket's region, or S3_ENDPOINT_URL to its endpoint.",
    "TooManyRequests": _LESS,
    "XAmzContentSHA256Mismatch": "Look for a proxy or gateway before the server that changes bodies, and check this machine's memory.",
}
_BY_STATUS: tuple[tuple[frozenset[int], str], ...] = (
    (frozenset({301}), "Set S3_REGION to the bucket's region, or S3_ENDPOINT_URL to its endpoint."),
    (
        frozenset(range(300, 400)),
        "Set S3_ENDPOINT_URL to the S3 server itself: a login page or another program sends requests elsewhere.",
    ),
    (frozenset({400}), f"{_ODD} A bare 400 also comes from a port that wants https://."),
    (
        frozenset({401, 403}),
        "Check S3_ACCESS_KEY and S3_SECRET_KEY, and allow the key s3:PutObject; `iam-policy` prints the policy.",
    ),
    (frozenset({404}), "Check S3_BUCKET, and that S3_ENDPOINT_URL is the server's S3 port and not its console."),
    (frozenset({405}), "Set S3_ENDPOINT_URL to the server's S3 port: what answers there takes no uploads."),
    (frozenset({407}), "Correct HTTPS_PROXY or HTTP_PROXY: the proxy wants a login."),
    (frozenset({408, 425}), _LINE),
    (frozenset({409}), "Run the doctor again; if it stays so, look for another program that writes the same key."),
    (
        frozenset({411, 413, 414, 431}),
        "Raise what the server, or a proxy before it, takes (nginx: client_max_body_size, large_client_header_buffers).",
    ),
    (frozenset({429, 503}), _LESS),
    (frozenset({501}), _BY_CODE["NotImplemented"]),
    (frozenset({502, 504}), "Start the S3 server behind the proxy or gateway that answers, or look into its log."),
    (frozenset(range(500, 600)), _FULL),
)
_NO_ANSWER = (
    (("credentials",), "Set S3_ACCESS_KEY and S3_SECRET_KEY, or give this machine or container a role."),
    (("has expired",), "Renew the server's certificate; check this machine's clock, too."),
    (("not valid yet",), "Set this machine's clock right (NTP)."),
    (
        ("for another host",),
        "Write in S3_ENDPOINT_URL a name that is in the server's certificate; for a bucket with dots set S3_ADDRESSING_STYLE=path.",
    ),
    (
        ("certificate",),
        "For a private authority set S3_CA_BUNDLE to its PEM file; else install ca-certificates on this machine.",
    ),
    (("does not speak tls",), "Write http:// in S3_ENDPOINT_URL, or the port of the server's HTTPS."),
    (("speaks tls",), "Write https:// in S3_ENDPOINT_URL."),
    (("redirect", "region"), "Set S3_REGION to the bucket's region, and S3_ENDPOINT_URL to the S3 server itself."),
    (("dns", "host name"), "Check S3_ENDPOINT_URL, and the name servers of this machine or container."),
    (("refuses connections",), "Start the S3 server, or correct host and port in S3_ENDPOINT_URL."),
    (("in time", "timed out"), _LINE),
)
"""Words of our sentences about what is no answer; the first that fit count."""
_NETWORK = "Check the network of this machine or container, and host, port and https:// in S3_ENDPOINT_URL."


def fix_of(error: StoreError) -> str:
    """Return what to do about it, as a sentence that begins with a verb."""
    said = str(error).lower()
    if "object lock" in said or "objectlock" in error.code.lower():
        return _LOCK
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    if error.status is not None:
        return next((fix for statuses, fix in _BY_STATUS if error.status in statuses), _LOG)
    if error.code:
        return _LOG
    return next((fix for words, fix in _NO_ANSWER if any(word in said for word in words)), _NETWORK)


def seen_of(error: StoreError) -> str:
    """Return what S3 said, without the advice behind it, as a sentence."""
    sentence = str(error).rstrip(".?")
    said, mark, _ = sentence.rpartition("): ") if "): " in sentence else sentence.partition(": ")
    return f"{said}{')' if mark == '): ' else ''}." if mark else f"{sentence}."
