"""Signature Version 4 against what AWS published."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.storage.signature import Keys, Signer, canonical_query

EMPTY = hashlib.sha256(b"").hexdigest()
WELCOME = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()
# https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, "Examples: Signature calculations"
S3_KEYS = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
S3_VECTORS = {
    "GET Object": (
        "GET", "/test.txt", {"range": "bytes=0-9"}, EMPTY,
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "PUT Object": (
        "PUT", "/test%24file.text", {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}, WELCOME,
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    "GET Bucket Lifecycle": (
        "GET", "/?" + canonical_query([("lifecycle", "")]), {}, EMPTY,
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "Get Bucket (List Objects)": (
        "GET", "/?" + canonical_query([("prefix", "J"), ("max-keys", "2")]), {}, EMPTY,
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
}  # fmt: skip
# The Signature Version 4 test suite (aws-sig-v4-test-suite), whose service is called "service".
SUITE_KEYS = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SUITE_VECTORS = {
    "get-vanilla": ([], "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    "get-vanilla-query-order-key-case": (
        [("Param2", "value2"), ("Param1", "value1")],
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
}


@pytest.mark.parametrize("name", S3_VECTORS)
def test_s3s_own_examples(name: str) -> None:
    """The four of the documentation, one with a query that comes unsorted."""
    method, target, headers, digest, signature = S3_VECTORS[name]
    headers = {**headers, "host": "examplebucket.s3.amazonaws.com", "x-amz-content-sha256": digest}
    signed = Signer(S3_KEYS, "us-east-1").signed(method, target, headers, digest, datetime(2013, 5, 24, tzinfo=UTC))
    assert signed["authorization"].endswith(f"Signature={signature}")


@pytest.mark.parametrize("name", SUITE_VECTORS)
def test_the_test_suite(name: str) -> None:
    """Queries in any order are signed sorted."""
    query, signature = SUITE_VECTORS[name]
    at = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    signer = Signer(SUITE_KEYS, "us-east-1", "service")
    signed = signer.signed("GET", f"/?{canonical_query(query)}", {"host": "example.amazonaws.com"}, EMPTY, at)
    assert signed["authorization"].endswith(f"Signature={signature}")


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=8), st.randoms())
def test_the_order_of_parameters_does_not_matter(parameters: list[tuple[str, str]], random: object) -> None:
    """However they come, the same is signed and sent, in ASCII without what a query may not hold."""
    try:
        query = canonical_query(parameters)
    except UnicodeEncodeError:
        return  # lone surrogates are no text
    shuffled = list(parameters)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert canonical_query(shuffled) == query
    assert query.isascii()
    assert not set(query) & set(' +/?#\r\n"<>')


def test_temporary_keys_send_their_token_signed() -> None:
    """The signature covers it; without one no such header is sent."""
    at, headers = datetime(2013, 5, 24, tzinfo=UTC), {"host": "h", "x-amz-content-sha256": EMPTY}
    signed = Signer(Keys("a", "s", "token"), "us-east-1").signed("GET", "/", headers, EMPTY, at)
    assert signed["x-amz-security-token"] == "token"
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token," in signed["authorization"]
    assert "x-amz-security-token" not in Signer(Keys("a", "s"), "us-east-1").signed("GET", "/", headers, EMPTY, at)


def test_what_a_query_may_hold_as_it_is() -> None:
    """The unreserved characters of RFC 3986, and no others."""
    assert canonical_query([("a-b_c.d~e", "A/z 0+*")]) == "a-b_c.d~e=A%2Fz%200%2B%2A"
    assert canonical_query([("a", "2"), ("A", "1"), ("a", "1")]) == "A=1&a=1&a=2"


def test_keys_hide_themselves() -> None:
    shown = repr(Keys("access", "the secret", "the token"))
    assert "access" in shown
    assert "secret'" not in shown
    assert "the" not in shown
