"""What each answer of S3 means for the next try: one table, from the status and the server's `<Code>`, and what is no answer.

Neither a library's exception type nor the words of a debug text decide: of obstore's errors the answer is read out, and
without one the kind of failure. Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and what rclone,
moto and Ceph answered in our tests. docs/errors.md shows the same tables.
"""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import urlsplit

from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.runtime.untrusted import single_line
from frigate_s3_mirror.storage.retry_after import parse_retry_after
from frigate_s3_mirror.storage.transport import AnswerTooLongError, CannotConnectError

_CONFIGURATION, _TRANSIENT, _OBJECT = ErrorClass.CONFIGURATION, ErrorClass.TRANSIENT, ErrorClass.OBJECT
AGAIN = "it will be tried again"
REFUSED = "the server refuses this object"
NOT_S3 = "what answers is not S3, but another program or a login page; check S3_ENDPOINT_URL and the network"


class Operation(StrEnum):
    """What was asked of S3; the value names the permission that it needs."""

    PUT = "s3:PutObject"
    GET = "s3:GetObject"
    LIST = "s3:ListBucket"
    DELETE = "s3:DeleteObject"


_DOING = {
    Operation.PUT: "write here; allow s3:PutObject on the bucket and prefix",
    Operation.GET: "read here; allow s3:GetObject on the bucket and prefix",
    Operation.LIST: "list here; allow s3:ListBucket on the bucket",
    Operation.DELETE: "delete here; allow s3:DeleteObject on the bucket and prefix",
}


class Failure(StrEnum):
    """How a request ended without a whole answer."""

    NO_CREDENTIALS = "no credentials"
    CERTIFICATE_EXPIRED = "expired certificate"
    CERTIFICATE_NOT_YET_VALID = "certificate of the future"
    CERTIFICATE_OF_ANOTHER = "certificate of another host"
    CERTIFICATE_UNKNOWN = "certificate of an unknown authority"
    CERTIFICATE_BAD = "certificate that is refused"
    PLAIN_NOT_TLS = "https:// to a plain port"
    TLS_NOT_PLAIN = "http:// to a TLS port"
    TLS_FAILED = "TLS fails"
    NAME_NOT_FOUND = "name not found"
    REFUSED = "connection refused"
    UNREACHABLE = "network unreachable"
    NO_CONNECTION = "no connection in time"
    RESET = "connection reset"
    CLOSED = "closed without an answer"
    TORN = "answer broken off"
    NOT_HTTP = "not HTTP"
    TOO_LONG = "answer too long"
    TIMED_OUT = "no answer in time"
    UNKNOWN = "anything else"


CODES: dict[str, tuple[ErrorClass, str]] = {
    "AccessDenied": (_CONFIGURATION, "the key may not write here; allow s3:PutObject on the bucket and prefix"),
    "AccountProblem": (_CONFIGURATION, "the account has a problem; look at the provider's console"),
    "AllAccessDisabled": (_CONFIGURATION, "access to the bucket is disabled; look at the provider's console"),
    "AuthorizationHeaderMalformed": (_CONFIGURATION, "the region does not fit the bucket; set S3_REGION"),
    "IllegalLocationConstraintException": (_CONFIGURATION, "the region does not fit the bucket; set S3_REGION"),
    "TemporaryRedirect": (_CONFIGURATION, "the bucket is in another region; check S3_REGION and S3_ENDPOINT_URL"),
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
    "PreconditionFailed": (_OBJECT, "there is an object under this key already"),
    "MissingUploadObjectWithObjectLockHeaders": (
        _CONFIGURATION,
        "the bucket has Object Lock, and the server takes none of the checksums that the mirror can send",
    ),
    "MethodNotAllowed": (_CONFIGURATION, "what answers takes no uploads; check S3_ENDPOINT_URL"),
    "NotSignedUp": (_CONFIGURATION, "the account is not signed up for S3"),
    "PermanentRedirect": (_CONFIGURATION, "the bucket is in another region; check S3_REGION and S3_ENDPOINT_URL"),
    "QuotaExceeded": (_CONFIGURATION, "the quota is used up; free space or raise it"),
    "SignatureDoesNotMatch": (_CONFIGURATION, "the signature is wrong; check S3_SECRET_KEY and S3_REGION"),
    "InvalidToken": (_CONFIGURATION, "the session token is wrong; renew the credentials"),
    "ExpiredToken": (_TRANSIENT, "the credentials expired and will be renewed"),
    "RequestTimeTooSkewed": (_TRANSIENT, "the clock of this machine is wrong; set it right (NTP)"),
    "InternalError": (_TRANSIENT, "it will be tried again"),
    "ServiceUnavailable": (_TRANSIENT, "it will be tried again"),
    "TooManyRequests": (_TRANSIENT, "S3 asks to slow down"),
    "RequestLimitExceeded": (_TRANSIENT, "S3 asks to slow down"),
    "XAmzContentSHA256Mismatch": (_TRANSIENT, "the body was damaged on its way"),
    "SlowDown": (_TRANSIENT, "S3 asks to slow down"),
    "RequestTimeout": (_TRANSIENT, "the connection is too slow or broke"),
    "OperationAborted": (_TRANSIENT, "another request was in the way"),
    "BadDigest": (_TRANSIENT, "the body was damaged on its way"),
    "InvalidPart": (_TRANSIENT, "a part of the upload is not there; it begins anew"),
    "InvalidPartOrder": (_TRANSIENT, "a part of the upload is not there; it begins anew"),
    "NoSuchUpload": (_TRANSIENT, "the upload in parts is over; it begins anew"),
    "EntityTooLarge": (_OBJECT, "the file is larger than the server takes"),
    "ConditionalRequestConflict": (_TRANSIENT, "another request was in the way"),
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
    (frozenset({405}), _CONFIGURATION, "what answers takes no uploads; check S3_ENDPOINT_URL"),
    (frozenset({407}), _CONFIGURATION, "the proxy wants a login; check HTTPS_PROXY and HTTP_PROXY"),
    (frozenset({408, 409, 425, 429, *range(500, 600)}), _TRANSIENT, AGAIN),
    (frozenset({411, 413, 414, 431}), _OBJECT, REFUSED),
)
"""The HTTP status, for codes that are not above."""
NO_ANSWER: dict[Failure, tuple[ErrorClass, str]] = {
    Failure.NO_CREDENTIALS: (_CONFIGURATION, "No credentials were found: set S3_ACCESS_KEY and S3_SECRET_KEY."),
    Failure.CERTIFICATE_EXPIRED: (_CONFIGURATION, "The server's certificate has expired: renew it, and check this machine's clock."),
    Failure.CERTIFICATE_NOT_YET_VALID: (
        _CONFIGURATION, "The server's certificate is not valid yet: check this machine's clock (NTP)."),
    Failure.CERTIFICATE_OF_ANOTHER: (
        _CONFIGURATION,
        "The server's certificate is for another host: S3_ENDPOINT_URL must have a name that is in it (or set S3_ADDRESSING_STYLE=path)."),
    Failure.CERTIFICATE_UNKNOWN: (
        _CONFIGURATION,
        "The server's certificate is not trusted: for a private authority set S3_CA_BUNDLE to its PEM file."),
    Failure.CERTIFICATE_BAD: (
        _CONFIGURATION, "The server's certificate is not accepted: look at it with 'frigate-s3-mirror doctor'."),
    Failure.PLAIN_NOT_TLS: (
        _CONFIGURATION, "The server does not speak TLS on this port: begin S3_ENDPOINT_URL with http://, or correct its port."),
    Failure.TLS_NOT_PLAIN: (_CONFIGURATION, "The server speaks TLS on this port: begin S3_ENDPOINT_URL with https://."),
    Failure.TLS_FAILED: (_TRANSIENT, "No TLS connection to S3 comes about: is there a server that speaks TLS at S3_ENDPOINT_URL?"),
    Failure.NAME_NOT_FOUND: (_TRANSIENT, "The S3 host name is not found (DNS): check the network and S3_ENDPOINT_URL."),
    Failure.REFUSED: (_TRANSIENT, "The S3 server refuses connections: is it running, and is S3_ENDPOINT_URL right?"),
    Failure.UNREACHABLE: (_TRANSIENT, "The network of the S3 server is unreachable: check this machine's network and S3_ENDPOINT_URL."),
    Failure.NO_CONNECTION: (
        _TRANSIENT, "No connection to the S3 server comes about in time: is it on, and does a firewall let the mirror through?"),
    Failure.RESET: (_TRANSIENT, "The connection to S3 was reset: look at the server, and at what stands before it."),
    Failure.CLOSED: (_TRANSIENT, "The S3 server closed the connection without an answer: look at its log, and whether its port wants https://."),
    Failure.TORN: (_TRANSIENT, "S3's answer broke off: look at the server, and at what stands before it."),
    Failure.NOT_HTTP: (_CONFIGURATION, "What answers does not speak HTTP: check host and port in S3_ENDPOINT_URL."),
    Failure.TOO_LONG: (_TRANSIENT, "The answer is longer than S3's are: check S3_ENDPOINT_URL."),
    Failure.TIMED_OUT: (_TRANSIENT, "S3 did not answer in time."),
    Failure.UNKNOWN: (_TRANSIENT, "The connection to S3 failed."),
}  # fmt: skip
"""What it means that there was no answer."""
_MOST_SAID = 300  # characters of a server's message that are repeated
_AUTHORITIES = frozenset({2, 18, 19, 20, 21, 24, 26, 27})  # X509_V_ERR_*: nobody whom we trust vouches for it
_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL})
_SECRETS = re.compile(
    r"""AWS4-HMAC-SHA256[^<>\n]*|AWS\s+[^\s:<>]+:[^\s<>]+
    |(?:x-amz-|x_amz_)?(?:signature|credential|security-token|authorization|awsaccesskeyid|secret\w*)["']?\s*[=:%]\s*[^\s&<>]+(?:\s+credential[^<>\n]*)?
    |\b[0-9a-f]{64}\b""",
    re.IGNORECASE | re.VERBOSE,
)


class StoreError(Exception):
    """A request to S3 failed: what it means for the next try, what S3 said, and what a person can do."""

    def __init__(
        self, error_class: ErrorClass, sentence: str, *, code: str = "", status: int | None = None, is_ambiguous: bool = False,
        retry_after: float | None = None, failure: Failure | None = None, is_from_s3: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(sentence)
        self.error_class = error_class
        self.code = code
        self.status = status
        self.is_ambiguous = is_ambiguous
        """The answer alone does not tell whether this object is refused or all would be."""
        self.retry_after = retry_after
        """Seconds for which the server wants to be left alone, where it said so."""
        self.failure = failure
        """How the request ended, where there was no whole answer."""
        self.is_from_s3 = is_from_s3
        """Whether S3 itself may have said it: not for other programs' answers, nor where there was none."""

    @property
    def asks_for_less(self) -> bool:
        """Whether the server wants fewer requests."""
        return self.status == 429 or self.code in {"SlowDown", "TooManyRequests", "RequestLimitExceeded"}


# -- answers -----------------------------------------------------------------------------------------------------------


def refusal(
    status: int, body: bytes | str = "", headers: Mapping[str, str] | None = None, *, operation: Operation = Operation.PUT,
    bucket: str = "",
) -> StoreError:  # fmt: skip
    """Return what an answer means that is not the one hoped for. `headers` have names in lower case."""
    text = body if isinstance(body, str) else body.decode(errors="replace")
    headers = headers or {}
    code = _between(text, r"<Code>([^<]{1,80})</Code>")
    message = single_line(without_secrets(_between(text, r"<Message>([^<]{1,2000})</Message>"))[:_MOST_SAID])
    if status == 412 and (code or not _is_page(text, headers)):
        return StoreError(_OBJECT, "There is an object under this key already.", code=code, status=status)
    if not code and _speaks_tls(status, text):
        return without_answer(Failure.TLS_NOT_PLAIN)
    if not code and (status < 400 or _is_page(text, headers)) and status not in {301, 304} and status < 500:
        return not_s3(status, headers)
    error_class, advice, is_ambiguous = _meaning(code, status, message, operation)
    said = f"S3 says {single_line(without_secrets(code)) or f'status {status}'}" + (
        f" ({message.rstrip('.')})" if message else ""
    )
    if code == "NoSuchBucket" and bucket:
        advice = advice.replace("no such bucket", f"no bucket '{bucket}'")
    return StoreError(
        error_class, f"{said}: {advice}.", code=code, status=status, is_ambiguous=is_ambiguous, is_from_s3=advice != NOT_S3,
        retry_after=parse_retry_after(headers.get("retry-after")),
    )  # fmt: skip


def not_s3(status: int, headers: Mapping[str, str]) -> StoreError:
    """Return the error for an answer that S3 does not give to such a request."""
    about = headers.get("content-type", "").partition(";")[0].strip()
    details = [f"status {status}"]
    if re.fullmatch(r"[\w.+-]{1,40}/[\w.+-]{1,40}", about):
        details.append(about)
    if where := headers.get("location"):
        details.append(f"sends to {_place(where)}")
    return StoreError(
        _TRANSIENT, f"This is no answer of S3's ({', '.join(details)}): {NOT_S3}.", status=status, is_ambiguous=True, is_from_s3=False,
        retry_after=parse_retry_after(headers.get("retry-after")),
    )  # fmt: skip


def _meaning(code: str, status: int, message: str, operation: Operation) -> tuple[ErrorClass, str, bool]:
    """Class, advice, and whether it may as well be the bucket's doing."""
    if code == "AccessDenied" and operation is not Operation.PUT:
        return _CONFIGURATION, f"the key may not {_DOING[operation]}", False
    if code == "InvalidArgument" and "torage" in message:
        return _CONFIGURATION, "check S3_STORAGE_CLASS", False
    if code in CODES:
        error_class, advice = CODES[code]
        return error_class, advice, code in {"InvalidArgument", "InvalidRequest"}
    for statuses, error_class, advice in STATUSES:
        if status in statuses:
            return error_class, advice, False
    if 400 <= status < 500:
        # Waiting does not help. S3 gives a code with every refusal, so one without comes from what stands before it.
        return (_OBJECT, REFUSED, True) if code else (_CONFIGURATION, NOT_S3, True)
    return _TRANSIENT, AGAIN, False


def _speaks_tls(status: int, text: str) -> bool:
    """Whether nginx, Go or Apache complain of plain HTTP on their TLS port."""
    return (
        status == 400
        and re.search(r"HTTPS? (?:request )?(?:was sent )?to (?:an )?HTTPS|SSL-enabled server port", text) is not None
    )


def _is_page(text: str, headers: Mapping[str, str]) -> bool:
    """Whether a person's browser was meant. Refusals with a plain status may come without any type."""
    return "html" in headers.get("content-type", "").lower() or text.lstrip()[:9].lower().startswith(
        ("<!doctype", "<html")
    )


def _place(location: str) -> str:
    """Where a redirect leads, without what may be secret in it."""
    try:
        url = urlsplit(location)
        where = (
            f"{url.scheme}://{url.hostname or ''}{f':{url.port}' if url.port else ''}{url.path}"
            if url.scheme
            else url.path
        )
    except ValueError:
        where = "a broken address"
    return without_secrets(where)[:120]


def without_secrets(text: str) -> str:
    """The text without what a server may repeat of a request's signature, which is nobody's business in a log."""
    return _SECRETS.sub("***", text)


# -- no answers --------------------------------------------------------------------------------------------------------


def without_answer(failure: Failure, detail: str = "") -> StoreError:
    """Return what it means that a request ended so."""
    error_class, sentence = NO_ANSWER[failure]
    more = f" ({without_secrets(detail)[:_MOST_SAID]})" if detail else ""
    return StoreError(
        error_class, f"{sentence.rstrip('.')}{more}." if more else sentence, failure=failure, is_from_s3=False
    )


_FAILURES: tuple[tuple[type[Exception], Failure], ...] = (
    (ssl.SSLError, Failure.TLS_FAILED),
    (socket.gaierror, Failure.NAME_NOT_FOUND),
    (CannotConnectError, Failure.NO_CONNECTION),
    (AnswerTooLongError, Failure.TOO_LONG),
    (http.client.RemoteDisconnected, Failure.CLOSED),
    (http.client.IncompleteRead, Failure.TORN),
    (http.client.HTTPException, Failure.NOT_HTTP),
    (TimeoutError, Failure.TIMED_OUT),
    (ConnectionRefusedError, Failure.REFUSED),
    (ConnectionError, Failure.RESET),
)
"""What our own transport raises, the first that fits counts."""
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})


_TLS_ALERT = re.compile(r"\x15\x03|\\x15\\x03")
"""How an answer of TLS begins, raw or as http.client quotes it."""


def failure_of(error: Exception) -> Failure:
    """Return how a request over our own transport ended."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _of_certificate(error)
    if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
        return Failure.PLAIN_NOT_TLS
    if isinstance(error, http.client.BadStatusLine) and _TLS_ALERT.search(str(error)):
        return Failure.TLS_NOT_PLAIN
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return Failure.UNREACHABLE
    return next((failure for kind, failure in _FAILURES if isinstance(error, kind)), Failure.UNKNOWN)


def _of_certificate(error: ssl.SSLCertVerificationError) -> Failure:
    """https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/"""
    match getattr(error, "verify_code", 0):
        case 10:
            return Failure.CERTIFICATE_EXPIRED
        case 9:
            return Failure.CERTIFICATE_NOT_YET_VALID
        case 62 | 64:
            return Failure.CERTIFICATE_OF_ANOTHER
        case code if code in _AUTHORITIES:
            return Failure.CERTIFICATE_UNKNOWN
    return Failure.CERTIFICATE_BAD


# -- obstore's errors --------------------------------------------------------------------------------------------------

_OBSTORE = (
    (r"InvalidCertificate\( ?Expired", Failure.CERTIFICATE_EXPIRED),
    (r"InvalidCertificate\( ?NotValidYet", Failure.CERTIFICATE_NOT_YET_VALID),
    (r"InvalidCertificate\( ?NotValidForName", Failure.CERTIFICATE_OF_ANOTHER),
    (r"InvalidCertificate\( ?UnknownIssuer", Failure.CERTIFICATE_UNKNOWN),
    (r"InvalidCertificate\(", Failure.CERTIFICATE_BAD),
    (r"InvalidMessage\( ?InvalidContentType", Failure.PLAIN_NOT_TLS),
    (r'ConnectError\( ?"dns error"', Failure.NAME_NOT_FOUND),
    (r"Os { code: 111,", Failure.REFUSED),
    (r"Os { code: (?:99|100|101|112|113),", Failure.UNREACHABLE),
    (r"Os { code: (?:32|103|104),", Failure.RESET),
    (r"kind: Timeout, .*ConnectError\(", Failure.NO_CONNECTION),
    (r"HttpError { kind: Timeout,", Failure.TIMED_OUT),
    (r"IncompleteMessage|UnexpectedEof", Failure.CLOSED),
    (r"hyper::Error\( ?Parse\(", Failure.NOT_HTTP),
)
"""What obstore's debug text holds for each failure: values of its error enums, never names of its fields."""
_CREDENTIALS = re.compile(r"169\.254\.169\.254|169\.254\.170\.|missing credentials|no credential", re.IGNORECASE)


def of_transport(error: Exception) -> StoreError:
    """Say what it means that our own transport raised this (OSError or http.client.HTTPException)."""
    failure = failure_of(error)
    return without_answer(failure, first_line(error) if failure is Failure.UNKNOWN else "")


def classify(error: Exception, bucket: str = "", operation: Operation = Operation.PUT) -> StoreError:
    """Say what an error of obstore's means, or one of a file that it was given."""
    told, _, debug = str(error).partition("\n\nDebug source:")
    status = re.search(r"status(?: code)?: (\d{3})(.*)", told, re.DOTALL)
    if status is not None:
        return refusal(int(status[1]), status[2], operation=operation, bucket=bucket)
    if isinstance(error, OSError) and not debug:
        return StoreError(_OBJECT, f"The file cannot be read ({error.strerror or error}).")
    if "redirect without LOCATION" in told:
        return refusal(301, "<Code>PermanentRedirect</Code>", operation=operation, bucket=bucket)
    if "<Code>" in told:  # an error in a 200, as an upload in parts may end
        return refusal(500, told, operation=operation, bucket=bucket)
    if "Unable to extract metadata from headers" in told:
        return not_s3(200, {})
    failure = _of_obstore(told, " ".join(debug.split()))
    return without_answer(failure, first_line(error) if failure is Failure.UNKNOWN else "")


def _of_obstore(told: str, debug: str) -> Failure:
    if _CREDENTIALS.search(told):
        return Failure.NO_CREDENTIALS
    return next((failure for pattern, failure in _OBSTORE if re.search(pattern, debug)), Failure.UNKNOWN)


def _between(text: str, pattern: str) -> str:
    match = re.search(pattern, text)
    return match.group(1).strip() if match else ""


def first_line(error: Exception) -> str:
    """The error in a line."""
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return without_secrets(line).strip().rstrip(".")[:_MOST_SAID]
