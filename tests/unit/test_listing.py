"""The bucket's listing: whatever keys and answers come, over a real HTTP server that answers as S3 does."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from frigate_s3_mirror.environment import load
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3 import ObjectStore
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.signed_requests import SignedRequestError, SignedRequests
from frigate_s3_mirror.storage.listing import BucketListing, NoListingError, parse_page
from http_listener import serving
from tls_front import Certificates, tls_front

Answer = Callable[[dict[str, str]], tuple[int, bytes]]
HEAD = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'


@contextmanager
def s3_that(answer: Answer) -> Iterator[StubbedStore]:
    """A server whose listings are the test's, and a store that asks it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            status, body = answer(query)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as port:
        yield store_at(f"http://127.0.0.1:{port}")


class StubbedStore(ObjectStore):
    """A store that knows its address."""

    endpoint_url = ""


def store_at(endpoint: str, **more: str) -> StubbedStore:
    environ = {"S3_BUCKET": "bucket", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret", "S3_ENDPOINT_URL": endpoint}
    store = StubbedStore(load({**environ, **more}).settings, {})
    store.endpoint_url = endpoint
    return store


def item(key: str, size: object = 3) -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>2026-01-31T12:00:00.000Z</LastModified>"
        f"<ETag>&quot;abc&quot;</ETag><Size>{size}</Size></Contents>"
    )


def listing_of(keys: list[str], encode: Callable[[str], str], page: int = 3) -> Answer:
    """S3's side of ListObjectsV2: keys in their order, a page at a time, with a token to go on."""

    def answer(query: dict[str, str]) -> tuple[int, bytes]:
        assert query["list-type"] == "2"
        begin = int(query.get("continuation-token", 0))
        shown = keys[begin : begin + page]
        more = begin + page < len(keys)
        rest = f"<NextContinuationToken>{begin + page}</NextContinuationToken>" if more else ""
        facts = f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>{rest}"
        return 200, (HEAD + "".join(item(encode(key)) for key in shown) + facts + "</ListBucketResult>").encode()

    return answer


keys = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), max_size=12, unique=True)


@given(keys, st.sampled_from([quote, quote_plus]))
@example(["p//x", "p/../x", "p/./x", "/", "p/\x1b[2J", "p/\n", "p/\x00", "a+b", "a b", "%2F", "é"], quote_plus)
@hypothesis_settings(max_examples=60, deadline=None)
def test_every_key_is_listed_as_it_is(found: list[str], encode: Callable[[str], str]) -> None:
    """Empty and dotted segments, control characters, blanks and plus signs as servers encode them."""
    with s3_that(listing_of(found, encode)) as store:
        assert [listed.key for page in store.list("") for listed in page] == found


@given(st.binary(max_size=60))
@hypothesis_settings(max_examples=300, deadline=None)
def test_odd_bytes_spoil_one_key_and_no_page(raw: bytes) -> None:
    """A server that does not encode its keys puts in whatever they are."""
    odd = raw.replace(b"<", b"&lt;").replace(b"&", b"&amp;")
    body = HEAD.encode() + item("good/1").encode() + b"<Contents><Key>" + odd + b"</Key></Contents>"
    page = parse_page(body + item("good/2").encode() + b"</ListBucketResult>")
    assert [found.key for found in page.objects if found.key.startswith("good/")] == ["good/1", "good/2"]


@pytest.mark.parametrize("reference", ["&#x1b;", "&#27;", "&#0;", "&#xD800;", "&#xFFFF;", "&#99999999;"])
def test_references_to_what_xml_cannot_hold_are_read(reference: str) -> None:
    """Go's and others' encoders write control characters so."""
    page = parse_page((HEAD + item(f"a{reference}b") + item("good") + "</ListBucketResult>").encode())
    assert [found.key for found in page.objects] == ["a\ufffdb", "good"]


@pytest.mark.parametrize("size", ["", "x", "-1", "1e400", "9" * 30, "²"])
def test_an_item_without_its_size_is_an_item(size: str) -> None:
    """Its neighbours have theirs."""
    page = parse_page((HEAD + item("odd", size) + item("good") + "</ListBucketResult>").encode())
    assert [(found.key, found.size_bytes) for found in page.objects] == [("odd", -1), ("good", 3)]


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
    + HEAD.split("?>")[1]
    + item("&b;")
    + "</ListBucketResult>"
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Sign in</body></html>",
        b"<html><p>no XML",
        b"{}",
        b"\x00\xff",
        BOMB.encode(),
        b"<ListBucketResult>" + b"<a>" * 100_000,
        (HEAD + item("cut")).encode(),
    ],
)
def test_what_is_no_listing_is_refused(body: bytes) -> None:
    """Login pages, entity bombs, abysses, and answers that were cut."""
    with pytest.raises(NoListingError):
        parse_page(body)
    with s3_that(lambda _query: (200, body)) as store, pytest.raises(StoreError, match="no listing of S3's"):
        list(store.list("p"))


def endless(make: Callable[[int], str]) -> Answer:
    numbers = itertools.count()

    def answer(_query: dict[str, str]) -> tuple[int, bytes]:
        body = HEAD + make(next(numbers)) + "<IsTruncated>true</IsTruncated></ListBucketResult>"
        return 200, body.encode()

    return answer


def token(text: object) -> str:
    return f"<NextContinuationToken>{text}</NextContinuationToken>"


@pytest.mark.parametrize(
    "make",
    [
        lambda _n: item("a") + token("same"),
        lambda n: item("a") + token(n),
        token,
        lambda _n: token("same"),
        lambda _n: item("a"),
        lambda _n: "",
        lambda n: item("ab"[n % 2]) + token(n),
    ],
    ids=[
        "same token",
        "new tokens, same keys",
        "new tokens, no keys",
        "same token, no keys",
        "no token",
        "nothing",
        "in turns",
    ],
)
def test_a_listing_without_an_end_is_ended(make: Callable[[int], str]) -> None:
    """Told as an error of the server's, after what it listed."""
    found: list[object] = []
    with s3_that(endless(make)) as store, pytest.raises(StoreError, match="does not come to an end"):
        found.extend(store.list("p"))
    assert len(found) <= 3


def test_empty_pages_in_between_are_passed_over() -> None:
    """S3 answers so where many objects were deleted."""
    pages = iter([token(1), token(2), item("a") + token(3), token(4)])

    def answer(_query: dict[str, str]) -> tuple[int, bytes]:
        made = next(pages, None)
        body = made + "<IsTruncated>true</IsTruncated>" if made else item("b")
        return 200, f"{HEAD}{body}</ListBucketResult>".encode()

    with s3_that(answer) as store:
        assert [listed.key for page in store.list("") for listed in page] == ["a", "b"]


def test_a_body_without_an_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with what a server sends."""
    monkeypatch.setattr("frigate_s3_mirror.storage.listing._LONGEST_PAGE", 100_000)
    with s3_that(lambda _query: (200, b"x" * 1_000_000)) as store, pytest.raises(StoreError, match="longer than"):
        list(store.list(""))


def test_a_refusal_says_what_listing_needs() -> None:
    """And names the bucket that is not there."""
    for code, said in (
        ("AccessDenied", "allow s3:ListBucket"),
        ("NoSuchBucket", "there is no bucket 'bucket'; create it, or check S3_BUCKET and S3_ENDPOINT_URL."),
        ("InvalidAccessKeyId", "check S3_ACCESS_KEY"),
    ):
        body = f"<Error><Code>{code}</Code><Message>no \x1b[2J</Message></Error>".encode()
        with s3_that(lambda _query, body=body: (403, body)) as store, pytest.raises(StoreError) as refused:  # type: ignore[misc]
            store.may_list("p")
        assert said in str(refused.value)
        assert "PutObject" not in str(refused.value)
        assert str(refused.value).isprintable()
        assert refused.value.error_class is ErrorClass.CONFIGURATION


def test_a_moment_s_trouble_does_not_end_a_long_listing() -> None:
    """A page that fails is asked for again."""
    answers = iter([503, 200])

    def answer(_query: dict[str, str]) -> tuple[int, bytes]:
        status = next(answers)
        body = f"{HEAD}{item('a')}</ListBucketResult>" if status == 200 else "<Error><Code>SlowDown</Code></Error>"
        return status, body.encode()

    with s3_that(answer) as store:
        assert [listed.key for page in store.list("") for listed in page] == ["a"]


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """As obstore does; the endpoint's name is known to the proxy alone. Bucket in the path or in the host name."""
    asked: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = f"{HEAD}{item('a')}</ListBucketResult>".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Proxy) as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        for style in ("path", "virtual"):
            store = store_at("http://s3.nowhere.invalid", S3_ADDRESSING_STYLE=style)
            assert [listed.key for page in store.list("p") for listed in page] == ["a"]
        monkeypatch.setenv("no_proxy", "nowhere.invalid")
        with pytest.raises(StoreError, match="host name is not found"):
            store_at("http://s3.nowhere.invalid").may_list("p")
    assert asked[0].startswith("http://s3.nowhere.invalid/bucket?")
    assert asked[1].startswith("http://bucket.s3.nowhere.invalid/?")
    assert len(asked) == 2


def test_temporary_credentials_of_the_environment_are_used() -> None:
    """With their session token, which is part of the signature."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            body = f"{HEAD}{item('a')}</ListBucketResult>".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    environ = {"AWS_ACCESS_KEY_ID": "ASIA", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "the-token"}
    with serving(Handler) as port:
        settings = load({"S3_BUCKET": "bucket", "S3_REGION": "eu-central-1"}).settings
        settings = settings.model_copy(update={"endpoint_url": f"http://127.0.0.1:{port}", "addressing_style": "path"})
        listing = BucketListing(SignedRequests(settings, environ), "bucket")
        assert [found.key for page in listing.pages("") for found in page.objects] == ["a"]
    assert seen[0]["x-amz-security-token"] == "the-token"
    assert "x-amz-date;x-amz-security-token" in seen[0]["authorization"]
    assert "Credential=ASIA/" in seen[0]["authorization"]


def test_without_keys_there_is_no_listing_of_our_own() -> None:
    """A role's credentials are obstore's alone."""
    with pytest.raises(SignedRequestError, match="not set"):
        SignedRequests(load({"S3_BUCKET": "bucket"}).settings, {})


def test_certificates_are_checked(tmp_path: Path) -> None:
    """The user's own authority is trusted, one that is over or for another name is not, and it is said which."""
    cases = {
        "good": (Certificates.self_signed(tmp_path / "good"), None),
        "over": (Certificates.self_signed(tmp_path / "over", days=-1), "expired"),
        "name": (Certificates.self_signed(tmp_path / "name", name="elsewhere.example"), "for another host"),
    }
    with s3_that(lambda _query: (200, f"{HEAD}{item('a')}</ListBucketResult>".encode())) as plain:
        for certificates, word in cases.values():
            with tls_front(certificates, plain.endpoint_url) as endpoint:
                store = store_at(endpoint, S3_CA_BUNDLE=str(certificates.trusted))
                if word is None:
                    assert [listed.key for page in store.list("p") for listed in page] == ["a"]
                    del store
                    gc.collect()  # its kept connection, whose end the server waits for
                    continue
                with pytest.raises(StoreError, match=word) as refused:
                    store.may_list("p")
                assert refused.value.error_class is ErrorClass.CONFIGURATION


ODD = ["p//x.jpg", "p/../x.jpg", "./x", "p/\x1b.jpg", "p/\n", "/x", "x/", "p/\ud800", "p/" + "x" * 1100]


@pytest.mark.parametrize("key", ODD)
def test_a_key_that_no_request_can_name_is_that_key_s_refusal(key: str) -> None:
    """StoreError, and nothing else, from every request."""
    store = store_at("http://127.0.0.1:1")
    for request in (store.describe, store.get, store.delete, lambda key: store.presigned(key, 60)):
        with pytest.raises(StoreError, match="no request for it can be made") as refused:
            request(key)
        assert refused.value.error_class is ErrorClass.OBJECT
        assert str(refused.value).isprintable()
