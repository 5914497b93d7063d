"""The S3 servers and the proxy that other tests stand on do what those tests presume."""

from __future__ import annotations

import hashlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, HTTPClientError

from conftest import WatchedTarget
from recording_proxy import Fault, FaultKind
from servers import Target

BODY = b"\xff\xd8 picture \xff\xd9" * 500


def put(target: Target, key: str, body: bytes = BODY, read_timeout: float = 5.0) -> str:
    """One PUT without retries; returns the ETag."""
    client = boto3.client(
        "s3",
        endpoint_url=target.endpoint_url,
        aws_access_key_id=target.access_key,
        aws_secret_access_key=target.secret_key,
        region_name="us-east-1",
        config=Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            read_timeout=read_timeout,
            request_checksum_calculation="when_required",
        ),
    )
    try:
        return str(client.put_object(Bucket=target.bucket, Key=key, Body=body)["ETag"]).strip('"')
    finally:
        client.close()


def test_a_bucket_returns_what_was_put(s3: Target) -> None:
    """Both servers, byte for byte, with type and metadata."""
    client = s3.client()
    client.put_object(Bucket=s3.bucket, Key="a/b c.jpg", Body=BODY, ContentType="image/jpeg", Metadata={"label": "cat"})
    head = client.head_object(Bucket=s3.bucket, Key="a/b c.jpg")
    client.close()
    assert s3.objects() == {"a/b c.jpg": BODY}
    assert head["ContentType"] == "image/jpeg"
    assert {name.lower(): value for name, value in head["Metadata"].items()}["label"] == "cat"


def test_buckets_are_fresh(s3: Target) -> None:
    """A test sees nothing of the tests before it."""
    assert s3.objects() == {}


def test_rclone_checks_signatures(rclone: Target) -> None:
    """A wrong secret is refused, so a signature that passes the proxy is a valid one."""
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        put(replace(rclone, secret_key="wrong" * 4), "a.jpg")


def test_the_proxy_changes_nothing_and_forgets_nothing(watched_s3: WatchedTarget) -> None:
    """Signatures made for the proxy's address stay valid; every request is in the record, in the end once."""
    assert put(watched_s3, "a/\u2603 b.jpg") == hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    assert watched_s3.objects() == {"a/\u2603 b.jpg": BODY}
    exchange = watched_s3.proxy.requests("PUT")[0]
    assert (exchange.method, exchange.path) == ("PUT", f"/{watched_s3.bucket}/a/\u2603 b.jpg")
    assert (exchange.status, exchange.server_status, exchange.fault) == (200, 200, "")
    assert exchange.body_bytes == len(BODY)
    assert exchange.headers["authorization"].startswith("AWS4-HMAC-SHA256")
    assert exchange.started_at <= exchange.ended_at
    assert watched_s3.stored() == {"a/\u2603 b.jpg": 1}
    assert {e.method for e in watched_s3.proxy.requests()} == {"PUT", "GET"}


def test_the_proxy_counts_a_second_put(watched_s3: WatchedTarget) -> None:
    """Also where both have the same content."""
    put(watched_s3, "a.jpg")
    put(watched_s3, "a.jpg")
    assert watched_s3.stored() == {"a.jpg": 2}


def test_many_clients_pass_at_the_same_time(watched_s3: WatchedTarget) -> None:
    """Bodies do not get mixed up between connections."""
    put(watched_s3, "warm/up.jpg")  # the first of several concurrent PUTs into a new folder may fail in rclone
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: put(watched_s3, f"warm/{n}.jpg", b"%d" % n * 1000), range(40)))
    objects = watched_s3.objects()
    assert all(objects[f"warm/{n}.jpg"] == b"%d" % n * 1000 for n in range(40))


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (429, "TooManyRequests"), (403, "AccessDenied")])
def test_an_injected_answer_never_reaches_the_server(watched_s3: WatchedTarget, status: int, code: str) -> None:
    """The client reads the code; afterwards all is as before."""
    watched_s3.proxy.inject(Fault(FaultKind.ANSWER, times=1, status=status, code=code, headers=(("Retry-After", "1"),)))
    with pytest.raises(ClientError, match=code):
        put(watched_s3, "a.jpg")
    assert watched_s3.objects() == {}
    put(watched_s3, "a.jpg")
    assert [(e.status, e.server_status) for e in watched_s3.proxy.requests("PUT")] == [(status, 0), (200, 200)]


@pytest.mark.parametrize(
    ("kind", "stored"), [(FaultKind.RESET_BEFORE, 0), (FaultKind.RESET_AFTER, 1), (FaultKind.CUT, 1)]
)
def test_a_broken_connection_hides_whether_the_object_is_there(
    watched_s3: WatchedTarget, kind: FaultKind, stored: int
) -> None:
    """The client sees the same, before and after the server stored it; the record knows."""
    watched_s3.proxy.inject(Fault(kind, times=1))
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        put(watched_s3, "a.jpg")
    assert len(watched_s3.objects()) == stored
    assert sum(watched_s3.stored().values()) == stored
    assert watched_s3.proxy.requests("PUT")[0].status == 0


def test_a_wrong_etag_comes_with_a_whole_object(watched_s3: WatchedTarget) -> None:
    """What a server that stored something else would answer."""
    watched_s3.proxy.inject(Fault(FaultKind.WRONG_ETAG, times=1))
    assert put(watched_s3, "a.jpg") == "0" * 32
    assert put(watched_s3, "a.jpg") == hashlib.md5(BODY, usedforsecurity=False).hexdigest()


def test_a_hang_lasts_until_it_is_released(watched_s3: WatchedTarget) -> None:
    """The client's own patience ends first."""
    watched_s3.proxy.inject(Fault(FaultKind.HANG, times=1))
    started = time.monotonic()
    with pytest.raises(HTTPClientError):
        put(watched_s3, "a.jpg", read_timeout=0.5)
    assert time.monotonic() - started < 5
    watched_s3.proxy.heal()
    put(watched_s3, "a.jpg")
    assert watched_s3.stored() == {"a.jpg": 1}


def test_faults_befall_a_share_of_the_requests_that_fit(watched_s3: WatchedTarget) -> None:
    """Reads and other keys are spared."""
    watched_s3.proxy.inject(Fault(FaultKind.ANSWER, share=0.5, path_part="unlucky"))
    put(watched_s3, "lucky.jpg")
    refused = 0
    for number in range(40):
        try:
            put(watched_s3, f"unlucky-{number}.jpg")
        except ClientError:
            refused += 1
    assert 8 <= refused <= 32
    assert len(watched_s3.objects()) == 41 - refused


def test_a_server_that_refuses_comes_back_at_the_same_address(watched_s3: WatchedTarget) -> None:
    """Connection refused while it lasts, everything as before afterwards."""
    before = watched_s3.proxy.endpoint_url
    with watched_s3.proxy.refusing(), pytest.raises(EndpointConnectionError):
        put(watched_s3, "a.jpg")
    put(watched_s3, "a.jpg")
    assert watched_s3.proxy.endpoint_url == before
    assert watched_s3.stored() == {"a.jpg": 1}


def test_a_closed_proxy_leaves_no_port(watched_s3: WatchedTarget) -> None:
    """Nothing of it outlives the test."""
    watched_s3.proxy.close()
    port = int(watched_s3.endpoint_url.rsplit(":", 1)[1])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
