"""Requests that end without an answer, each made over a real socket: by our own transport, and by obstore itself."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3 import ObjectStore, Upload
from frigate_s3_mirror.s3_errors import NO_ANSWER, Failure, StoreError, classify, of_transport
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.storage import transport
from frigate_s3_mirror.storage.transport import Transport
from http_messages import read_head
from stub_s3 import StubS3, listening_raw, refusal, reply, stub_s3
from tls_front import Certificates

UPLOAD = Upload("a.jpg", b"picture", 7, "image/jpeg", {})


def _reset(client: socket.socket) -> None:
    client.recv(10)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _answers(data: bytes) -> Callable[[socket.socket], object]:
    def serve(client: socket.socket) -> None:
        with client.makefile("rb") as reader:
            read_head(reader)
            reader.read(7)
        client.sendall(data)

    return serve


def _tls(files: Certificates) -> Callable[[socket.socket], object]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.chain, files.key)

    def serve(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as secured:
            _answers(reply(200))(secured)

    return serve


def _speaks_tls_to_all(client: socket.socket) -> None:
    client.recv(65536)
    client.sendall(b"\x15\x03\x01\x00\x02\x02\x46")  # an alert: what OpenSSL says to plain HTTP


def _speaks_plain_to_all(client: socket.socket) -> None:
    client.recv(65536)
    client.sendall(reply(400))


@contextmanager
def endpoint(case: str, folder: Path) -> Iterator[tuple[str, Path | None]]:
    """Where it happens, and the authority to trust."""
    serve: Callable[[socket.socket], object]
    certificates: Certificates | None = None
    match case:
        case "expired certificate":
            certificates = Certificates.self_signed(folder / "tls", days=-1)
        case "certificate of another host":
            certificates = Certificates.self_signed(folder / "tls", name="elsewhere.example")
        case "certificate of an unknown authority":
            certificates = Certificates.signed_by_authority(folder / "tls")
        case "certificate that is refused":
            certificates = Certificates.self_signed(folder / "tls", is_authority=True)
    if certificates is not None:
        is_unknown = case == "certificate of an unknown authority"
        with listening_raw(_tls(certificates)) as port:
            yield f"https://127.0.0.1:{port}", None if is_unknown else certificates.trusted
        return
    where = {
        "connection refused": "http://127.0.0.1:1",
        "name not found": "http://nothing.frigate-mirror.invalid",
    }
    if case in where:
        yield where[case], None
        return
    serve = {
        "connection reset": _reset,
        "closed without an answer": _answers(b""),
        "not HTTP": _answers(b"220 mail.example ESMTP\r\n"),
        "https:// to a plain port": _speaks_plain_to_all,
        "http:// to a TLS port": _speaks_tls_to_all,
        "no answer in time": lambda _client: time.sleep(3),
    }[case]
    with listening_raw(serve) as port:
        scheme = "https" if case == "https:// to a plain port" else "http"
        yield f"{scheme}://127.0.0.1:{port}", None


CASES = [
    Failure.CERTIFICATE_EXPIRED, Failure.CERTIFICATE_OF_ANOTHER, Failure.CERTIFICATE_UNKNOWN, Failure.CERTIFICATE_BAD,
    Failure.PLAIN_NOT_TLS, Failure.NAME_NOT_FOUND, Failure.REFUSED, Failure.RESET, Failure.CLOSED,
    Failure.NOT_HTTP, Failure.TIMED_OUT,
]  # fmt: skip


def settings_for(url: str, trusted: Path | None = None, **more: str) -> Settings:
    environ = more if trusted is None else {**more, "S3_CA_BUNDLE": str(trusted)}
    return StubS3(1).settings(S3_ENDPOINT_URL=url, **environ)


def put_by_us(url: str, trusted: Path | None = None) -> StoreError:
    """What our own transport makes of it."""
    with pytest.raises(StoreError) as told:
        ObjectStore(settings_for(url, trusted), {}).put(UPLOAD)
    return told.value


def put_by_obstore(url: str, trusted: Path | None = None) -> StoreError:
    """What we make of obstore's error."""
    store = S3Store(
        "bucket",
        config={"endpoint": url, "access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"},
        client_options={
            "connect_timeout": "2s", "timeout": "1s", "allow_http": True,
            **({"root_certificate": trusted.read_bytes()} if trusted is not None else {}),
        },
        retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
    )  # fmt: skip
    with pytest.raises((BaseError, OSError)) as raised:
        obstore.put(store, "a.jpg", b"picture", use_multipart=False)
    return classify(raised.value)


@pytest.mark.parametrize("case", [*CASES, Failure.TLS_NOT_PLAIN])
def test_our_transport_says_what_went_wrong(case: Failure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a sentence of its own, and none of them is the object's fault."""
    if case is Failure.TIMED_OUT:
        monkeypatch.setattr("frigate_s3_mirror.storage.putting.SECONDS", 0.3)
    with endpoint(case, tmp_path) as (url, trusted):
        told = put_by_us(url, trusted)
    assert told.failure is case, str(told)
    assert str(told) == NO_ANSWER[case][1]
    assert told.error_class is not ErrorClass.OBJECT


@pytest.mark.parametrize("case", CASES)
def test_obstores_errors_are_understood(case: Failure, tmp_path: Path) -> None:
    """The real library makes each of them: what a user with a role gets, and all listings."""
    with endpoint(case, tmp_path) as (url, trusted):
        told = put_by_obstore(url, trusted)
    assert told.failure is case, str(told)


@pytest.fixture(scope="module")
def without_network() -> list[str]:
    """What a command begins with that shall have no network at all, not even loopback."""
    problem = ""
    for command in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        try:
            tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
        except OSError as error:
            problem = str(error)
            continue
        if tried.returncode == 0:
            return command
        problem = tried.stderr.strip()
    pytest.skip(f"network namespaces cannot be made here: {problem}")


@pytest.mark.parametrize("by", ["us", "obstore"])
def test_an_unreachable_network_is_named(by: str, without_network: list[str]) -> None:
    """In a fresh network namespace loopback is down, so that nothing leads to 127.0.0.1."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [*without_network, sys.executable, __file__, by, "http://127.0.0.1:9"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert told.stdout.splitlines() == [Failure.UNREACHABLE, *NO_ANSWER[Failure.UNREACHABLE]], told.stderr


def test_every_failure_has_a_sentence_of_its_own() -> None:
    sentences = [sentence for _, sentence in NO_ANSWER.values()]
    assert set(NO_ANSWER) == set(Failure)
    assert len(set(sentences)) == len(sentences)
    assert all(error_class is not ErrorClass.OBJECT for error_class, _ in NO_ANSWER.values())


@pytest.mark.parametrize("with_location", [False, True])
def test_a_wrong_region_is_named(with_location: bool) -> None:
    """AWS answers 301 without Location; by our transport and by obstore it is the settings' fault."""
    location = {"Location": "https://elsewhere.example/"} if with_location else {}
    with stub_s3() as stub:
        stub.answering = lambda _: refusal(301, "PermanentRedirect", "must be addressed using the endpoint", **location)
        store = ObjectStore(stub.settings(), {})
        asked: list[Callable[[], object]] = [lambda: store.put(UPLOAD), lambda: store.get("a")]
        if not with_location:  # obstore follows it
            asked.append(lambda: list(store.list("a")))
        for ask in asked:
            with pytest.raises(StoreError) as told:
                ask()
            assert told.value.error_class is ErrorClass.CONFIGURATION
            assert "S3_REGION" in str(told.value)
            assert "time" not in str(told.value)


@pytest.mark.parametrize(
    "text",
    [
        "Client sent an HTTP request to an HTTPS server.\n",  # Go: MinIO, rclone, SeaweedFS
        "<html><center>The plain HTTP request was sent to HTTPS port</center></html>",  # nginx
        "Reason: You're speaking plain HTTP to an SSL-enabled server port.",  # Apache
    ],
)
def test_servers_that_explain_their_tls_are_understood(text: str) -> None:
    with stub_s3() as stub:
        stub.answering = lambda _: reply(400, {"Content-Type": "text/html"}, text.encode())
        with pytest.raises(StoreError, match="begin S3_ENDPOINT_URL with https://"):
            ObjectStore(stub.settings(), {}).put(UPLOAD)


# -- the transport -----------------------------------------------------------------------------------------------------


def _ask(url: str, *, seconds: float = 5.0, body: bytes = b"") -> transport.Answer:
    from urllib.parse import urlsplit

    return Transport(urlsplit(url)).exchange("PUT", "/a", {"host": "a"}, body, seconds=seconds)


def test_a_server_that_drips_gets_no_more_time() -> None:
    """A byte from time to time keeps nobody waiting beyond the deadline."""

    def drip(client: socket.socket) -> None:
        client.recv(1000)
        for byte in b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000:
            client.sendall(bytes([byte]))
            time.sleep(0.02)

    with listening_raw(drip) as port:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            _ask(f"http://127.0.0.1:{port}", seconds=0.5)
        assert time.monotonic() - began < 3


def test_an_answer_that_breaks_off_is_none() -> None:
    for torn in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 20",
        b"HTTP/1",
        b"HT",
    ):
        with listening_raw(_answers(torn)) as port, pytest.raises((OSError, http.client.HTTPException)) as raised:
            _ask(f"http://127.0.0.1:{port}", body=b"picture")
        assert of_transport(raised.value).failure is Failure.TORN


def test_a_refusal_before_the_whole_body_is_heard() -> None:
    """A server that takes no such large body says so and closes, while we still send."""

    def refuse(client: socket.socket) -> None:
        client.recv(1000)
        client.sendall(reply(413))
        client.shutdown(socket.SHUT_WR)
        time.sleep(0.3)

    with listening_raw(refuse) as port:
        assert _ask(f"http://127.0.0.1:{port}", body=b"x" * 30_000_000).status == 413


def test_connections_are_kept_and_dead_ones_are_not_used() -> None:
    """One connection serves many requests; one that the server closed meanwhile costs no failed request."""
    from urllib.parse import urlsplit

    seen: list[int] = []

    def serve(client: socket.socket) -> None:
        seen.append(0)
        with client.makefile("rb") as reader:
            for _ in range(3):
                if not read_head(reader):
                    return
                seen[-1] += 1
                client.sendall(reply(200, {}, b"ok"))

    with listening_raw(serve) as port:
        way = Transport(urlsplit(f"http://127.0.0.1:{port}"))
        for _ in range(9):
            assert way.exchange("GET", "/", {"host": "a"}, seconds=5).body == b"ok"
            time.sleep(0.02)
    assert seen == [3, 3, 3]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_of_the_environment_is_used(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain requests go to it whole, TLS through a tunnel; NO_PROXY goes past it."""
    heads: list[bytes] = []

    def serve(client: socket.socket) -> None:
        with client.makefile("rb") as reader:
            heads.append(read_head(reader))
            client.sendall(reply(200 if scheme == "http" else 407))

    for name in (
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    with listening_raw(serve) as port, ExitStack() as stack:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://me:secret@127.0.0.1:{port}")
        if scheme == "http":
            assert _ask("http://s3.example").status == 200
            assert heads[0].startswith(b"PUT http://s3.example/a HTTP/1.1\r\n")
        else:
            stack.enter_context(pytest.raises(OSError, match="407"))
            _ask("https://s3.example")
    monkeypatch.setenv("no_proxy", "s3.frigate-mirror.invalid")
    with pytest.raises(OSError, match=r"(?i)name|resolution|known"):
        _ask("http://s3.frigate-mirror.invalid")


def test_no_header_breaks_out_of_its_line() -> None:
    """A camera's name with a line break is the object's fault, and never a request of its own."""
    with stub_s3() as stub:
        upload = Upload("a.jpg", b"picture", 7, "image/jpeg", {"camera": "a\r\nx-amz-acl: public-read"})
        store = ObjectStore(stub.settings(), {})
        store.put(upload)
        assert all("x-amz-acl" not in request.headers for request in stub.requests)
        with pytest.raises(StoreError) as told:
            store.put(Upload("a.jpg", b"picture", 7, "image/jpeg", {"bad\r\nname": "x"}))
        assert told.value.error_class is ErrorClass.OBJECT


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://s3.example:80", "s3.example"),
        ("https://s3.example:443", "s3.example"),
        ("https://s3.example:80", "s3.example:80"),
        ("http://[::1]:9000", "[::1]:9000"),
    ],
)
def test_a_port_of_the_schemes_own_is_not_signed(url: str, host: str) -> None:
    """Servers see the host as browsers send it, and compute the signature over that."""
    from urllib.parse import urlsplit

    assert Transport(urlsplit(url)).host == host


if __name__ == "__main__":
    error = {"us": put_by_us, "obstore": put_by_obstore}[sys.argv[1]](sys.argv[2])
    print(f"{error.failure}\n{error.error_class}\n{error}")
