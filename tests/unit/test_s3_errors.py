"""What answers and their absence mean: the sentences and classes by themselves, without a network."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl

import pytest

from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3_errors import (
    CODES,
    NOT_S3,
    STATUSES,
    Failure,
    Operation,
    StoreError,
    classify,
    failure_of,
    first_line,
    not_s3,
    of_transport,
    refusal,
    without_answer,
    without_secrets,
)
from frigate_s3_mirror.storage.transport import AnswerTooLongError, CannotConnectError

T, C, OBJ = ErrorClass.TRANSIENT, ErrorClass.CONFIGURATION, ErrorClass.OBJECT


def error(code: str, message: str = "") -> str:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"


TRANSIENT = {
    "ExpiredToken", "RequestTimeTooSkewed", "InternalError", "ServiceUnavailable", "TooManyRequests", "RequestLimitExceeded",
    "XAmzContentSHA256Mismatch", "SlowDown", "RequestTimeout", "OperationAborted", "BadDigest", "ConditionalRequestConflict",
    "InvalidPart", "InvalidPartOrder", "NoSuchUpload",
}  # fmt: skip
OF_OBJECTS = {"PreconditionFailed", "EntityTooLarge", "KeyTooLongError", "KeyTooLong", "MetadataTooLarge", "InvalidArgument", "InvalidRequest"}  # fmt: skip


@pytest.mark.parametrize("code", CODES)
def test_the_code_decides_whatever_the_status(code: str) -> None:
    """What passes by itself, what is the object's, and all else a person must mend."""
    expected = T if code in TRANSIENT else OBJ if code in OF_OBJECTS else C
    for status in (400, 403, 503):
        told = refusal(status, error(code, "Why."))
        assert (told.error_class, told.code, told.status) == (expected, code, status)
        assert str(told) == f"S3 says {code} (Why): {CODES[code][1]}."
        assert told.is_from_s3
        assert told.is_ambiguous is (code in {"InvalidArgument", "InvalidRequest"})
    assert set(CODES) > TRANSIENT | OF_OBJECTS


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (301, C), (400, OBJ), (401, C), (403, C), (404, C), (405, C), (407, C), (408, T), (409, T), (410, OBJ), (411, OBJ), (413, OBJ), (414, OBJ),
        (425, T), (429, T), (431, OBJ), (499, OBJ), (500, T), (501, T), (503, T), (599, T), (600, T), (399, T),
    ],
)  # fmt: skip
def test_the_status_decides_where_nobody_knows_the_code(status: int, error_class: ErrorClass) -> None:
    assert refusal(status, error("Unheard")).error_class is error_class
    advices = {advice for statuses, _, advice in STATUSES if status in statuses}
    assert all(advice in str(refusal(status, error("Unheard"))) for advice in advices)


@pytest.mark.parametrize(
    ("status", "headers", "body", "is_s3"),
    [
        (200, {}, "", False), (204, {}, "", False), (302, {}, "", False), (399, {}, "", False), (301, {}, "", True), (304, {}, "", True),
        (400, {}, "", False), (499, {}, "", False), (403, {}, "", True), (500, {}, "", True), (403, {"content-type": "TEXT/HTML"}, "", False),
        (403, {}, "  <!DOCTYPE html>", False), (403, {}, "<HTML>", False), (403, {}, "<html lang=de>x", False), (403, {}, "Forbidden", True), (499, {"content-type": "text/html"}, "", False),
        (500, {"content-type": "text/html"}, "<html>", True), (301, {"content-type": "text/html"}, "<html>", True),
        (403, {"content-type": "text/html"}, error("AccessDenied"), True), (200, {}, error("InternalError"), True),
    ],
)  # fmt: skip
def test_who_speaks(status: int, headers: dict[str, str], body: str, is_s3: bool) -> None:
    """A code is S3's; a page is somebody else's, but for a server in trouble; a bare refusal may be either's."""
    told = refusal(status, body, headers)
    assert told.is_from_s3 is is_s3, str(told)
    assert (NOT_S3 in str(told)) is not is_s3
    if not is_s3:
        assert told.is_ambiguous


def test_what_is_said_is_cut_cleaned_and_named() -> None:
    """The bucket's name, one line, no secrets, 300 characters; and how long to wait."""
    told = refusal(404, error("NoSuchBucket", "It is\nnot there..."), {"retry-after": "7"}, bucket="mine")
    assert str(told) == "S3 says NoSuchBucket (It is\\nnot there): there is no bucket 'mine'; create it, or check S3_BUCKET and S3_ENDPOINT_URL."  # fmt: skip
    assert told.retry_after == 7.0
    assert "no such bucket" in str(refusal(404, error("NoSuchBucket")))
    assert "mine" not in str(refusal(403, error("AccessDenied"), bucket="mine"))
    assert str(refusal(503)) == "S3 says status 503: it will be tried again."
    assert str(refusal(500, error("Odd", "x" * 999))) == f"S3 says Odd ({'x' * 300}): it will be tried again."
    assert refusal(500, error("x" * 80)).code == "x" * 80
    assert refusal(500, error("x" * 81)).code == ""
    assert str(refusal(503, error("SlowDown").encode() + b"\xff")).startswith("S3 says SlowDown")
    there = refusal(412, error("PreconditionFailed"))
    assert (there.error_class, there.status, there.code) == (OBJ, 412, "PreconditionFailed")
    assert str(there) == "There is an object under this key already."


def test_permissions_are_named_by_what_was_asked() -> None:
    for operation, name in ((Operation.PUT, "s3:PutObject"), (Operation.GET, "s3:GetObject"), (Operation.LIST, "s3:ListBucket"), (Operation.DELETE, "s3:DeleteObject")):  # fmt: skip
        told = refusal(403, error("AccessDenied"), operation=operation)
        assert name in str(told)
        assert (told.error_class, told.is_ambiguous) == (C, False)
        assert operation == name
        other = refusal(403, error("InvalidAccessKeyId"), operation=operation)
        assert "S3_ACCESS_KEY" in str(other)
    storage = refusal(400, error("InvalidArgument", "x-amz-storage-class is odd"))
    assert (storage.error_class, storage.is_ambiguous) == (C, False)
    assert "S3_STORAGE_CLASS" in str(storage)
    assert refusal(400, error("InvalidRequest", "Storage")).error_class is OBJ


@pytest.mark.parametrize(
    ("status", "code", "asks"),
    [(429, "", True), (503, "SlowDown", True), (503, "TooManyRequests", True), (400, "RequestLimitExceeded", True), (503, "", False), (500, "InternalError", False)],
)  # fmt: skip
def test_who_asks_for_less(status: int, code: str, asks: bool) -> None:
    assert refusal(status, error(code) if code else "").asks_for_less is asks


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "(status 302)"), ({"content-type": "text/html; charset=x"}, "(status 302, text/html)"), ({"content-type": "odd\x1b"}, "(status 302)"),
        ({"location": "https://a.example:8/b?secret=1#c"}, "(status 302, sends to https://a.example:8/b)"),
        ({"location": "https://a.example/b"}, "sends to https://a.example/b)"), ({"location": "/login?x=y"}, "sends to /login)"),
        ({"location": "http://[oops"}, "sends to a broken address)"), ({"location": "/" + "a" * 999}, "sends to /" + "a" * 119 + ")"),
    ],
)  # fmt: skip
def test_what_is_not_s3_is_described(headers: dict[str, str], said: str) -> None:
    """Without what may be secret in an address."""
    told = not_s3(302, {**headers, "retry-after": "9"})
    assert said in str(told)
    assert (told.error_class, told.status, told.is_ambiguous, told.is_from_s3, told.retry_after) == (
        T,
        302,
        True,
        False,
        9.0,
    )


@pytest.mark.parametrize(
    ("text", "is_tls"),
    [
        ("Client sent an HTTP request to an HTTPS server.", True), ("The plain HTTP request was sent to HTTPS port", True),
        ("speaking plain HTTP to an SSL-enabled server port", True), ("something else", False),
    ],
)  # fmt: skip
def test_a_tls_port_that_explains_itself(text: str, is_tls: bool) -> None:
    """With status 400 and no code."""
    assert (refusal(400, text).failure is Failure.TLS_NOT_PLAIN) is is_tls
    assert refusal(403, text).failure is None
    assert refusal(400, text + error("InvalidRequest")).failure is None


def certificate_error(number: int) -> ssl.SSLCertVerificationError:
    made = ssl.SSLCertVerificationError(1, "told")
    made.verify_code = number
    return made


def tls_error(reason: str) -> ssl.SSLError:
    made = ssl.SSLError(1, "told")
    made.reason = reason
    return made


@pytest.mark.parametrize(
    ("raised", "failure"),
    [
        (certificate_error(10), Failure.CERTIFICATE_EXPIRED), (certificate_error(9), Failure.CERTIFICATE_NOT_YET_VALID),
        (certificate_error(62), Failure.CERTIFICATE_OF_ANOTHER), (certificate_error(64), Failure.CERTIFICATE_OF_ANOTHER),
        *((certificate_error(number), Failure.CERTIFICATE_UNKNOWN) for number in (2, 18, 19, 20, 21, 24, 26, 27)),
        (certificate_error(1), Failure.CERTIFICATE_BAD), (ssl.SSLCertVerificationError(1, "told"), Failure.CERTIFICATE_BAD),
        *((tls_error(reason), Failure.PLAIN_NOT_TLS) for reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")),
        (tls_error("ODD"), Failure.TLS_FAILED), (http.client.BadStatusLine("\x15\x03\x01"), Failure.TLS_NOT_PLAIN),
        (http.client.BadStatusLine("SSH-2.0"), Failure.NOT_HTTP), (http.client.RemoteDisconnected("told"), Failure.CLOSED),
        (http.client.IncompleteRead(b""), Failure.TORN), (http.client.LineTooLong("told"), Failure.NOT_HTTP),
        *((OSError(number, "told"), Failure.UNREACHABLE) for number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL)),
        (socket.gaierror(-2, "told"), Failure.NAME_NOT_FOUND), (CannotConnectError("told"), Failure.NO_CONNECTION), (TimeoutError("told"), Failure.TIMED_OUT),
        (AnswerTooLongError("told"), Failure.TOO_LONG), (ConnectionRefusedError(errno.ECONNREFUSED, "told"), Failure.REFUSED),
        (ConnectionResetError(errno.ECONNRESET, "told"), Failure.RESET), (BrokenPipeError(errno.EPIPE, "told"), Failure.RESET),
        (OSError(errno.EIO, "told"), Failure.UNKNOWN), (ValueError("told"), Failure.UNKNOWN),
    ],
)  # fmt: skip
def test_how_a_request_ended(raised: Exception, failure: Failure) -> None:
    """By the error's type and number; what it says is repeated only where nothing is known."""
    assert failure_of(raised) is failure
    told = of_transport(raised)
    assert (told.failure, told.is_from_s3, told.status) == (failure, False, None)
    assert ("told" in str(told)) is (failure is Failure.UNKNOWN)


def test_details_stand_in_the_sentence() -> None:
    assert str(without_answer(Failure.UNKNOWN, "odd thing")) == "The connection to S3 failed (odd thing)."
    assert str(without_answer(Failure.TIMED_OUT)) == "S3 did not answer in time."
    assert str(without_answer(Failure.UNKNOWN, "x" * 999)) == f"The connection to S3 failed ({'x' * 300})."
    assert first_line(RuntimeError("one.\ntwo")) == "one"
    assert first_line(RuntimeError()) == "RuntimeError"
    assert len(first_line(RuntimeError("x" * 999))) == 300


@pytest.mark.parametrize(
    ("raised", "failure"),
    [
        ("InvalidCertificate(Expired)", Failure.CERTIFICATE_EXPIRED), ("InvalidCertificate( NotValidYet)", Failure.CERTIFICATE_NOT_YET_VALID),
        ("InvalidCertificate(NotValidForName)", Failure.CERTIFICATE_OF_ANOTHER), ("InvalidCertificate(UnknownIssuer)", Failure.CERTIFICATE_UNKNOWN),
        ("InvalidCertificate(Odd)", Failure.CERTIFICATE_BAD), ("InvalidMessage(InvalidContentType)", Failure.PLAIN_NOT_TLS),
        ('ConnectError("dns error")', Failure.NAME_NOT_FOUND), ("Os { code: 111, kind", Failure.REFUSED),
        *((f"Os {{ code: {number}, kind", Failure.UNREACHABLE) for number in (99, 100, 101, 112, 113)),
        *((f"Os {{ code: {number}, kind", Failure.RESET) for number in (32, 103, 104)), ("HttpError { kind: Timeout, x ConnectError(", Failure.NO_CONNECTION),
        ("HttpError { kind: Timeout, x", Failure.TIMED_OUT), ("IncompleteMessage", Failure.CLOSED), ("UnexpectedEof", Failure.CLOSED),
        ("hyper::Error(Parse(", Failure.NOT_HTTP), ("anything", Failure.UNKNOWN),
    ],
)  # fmt: skip
def test_obstores_debug_text(raised: str, failure: Failure) -> None:
    """Values of its enums, however its lines are broken."""
    assert classify(RuntimeError(f"told\n\nDebug source:\n{raised}")).failure is failure


def test_obstores_answers() -> None:
    """Read out of its text, and classified like all others."""
    told = classify(RuntimeError(f"status code: 404 {error('NoSuchBucket')}"), "mine", Operation.GET)
    assert (told.status, told.code, told.error_class) == (404, "NoSuchBucket", C)
    assert "'mine'" in str(told)
    assert "s3:GetObject" in str(
        classify(RuntimeError(f"status: 403\n{error('AccessDenied')}"), operation=Operation.GET)
    )
    assert classify(RuntimeError("redirect without LOCATION, told")).error_class is C
    assert classify(RuntimeError("redirect without LOCATION, told")).status == 301
    torn = classify(RuntimeError(f"told {error('InternalError')}"))
    assert (torn.status, torn.error_class) == (500, T)
    assert not classify(RuntimeError("Unable to extract metadata from headers")).is_from_s3
    assert classify(RuntimeError("Unable to extract metadata from headers")).status == 200
    file = classify(OSError(errno.EACCES, "No access"))
    assert (file.error_class, str(file), file.status) == (OBJ, "The file cannot be read (No access).", None)
    assert "odd" in str(classify(OSError("odd")))
    for text in ("asked 169.254.169.254", "missing credentials", "No Credential there", "169.254.170.2"):
        assert classify(RuntimeError(text)).failure is Failure.NO_CREDENTIALS
    assert classify(RuntimeError("told\n\nDebug source:\nmissing credentials")).failure is Failure.UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "AWS4-HMAC-SHA256 Credential=abc/x, Signature=def", "AWS abc:def", "x-amz-signature=abc", "X-Amz-Credential: abc", "x_amz_security-token=abc",
        "authorization: abc credential def", "awsaccesskeyid=abc", "secretkey=abc", "a" * 64,
    ],
)  # fmt: skip
def test_secrets_are_not_repeated(text: str) -> None:
    told = without_secrets(f"before <{text}> after")
    assert "abc" not in told
    assert "def" not in told
    assert "a" * 64 not in told
    assert told.startswith("before")
    assert "***" in told
    assert isinstance(refusal(403, error("SignatureDoesNotMatch", text)), StoreError)
    assert "abc" not in str(refusal(403, error("SignatureDoesNotMatch", text)))
