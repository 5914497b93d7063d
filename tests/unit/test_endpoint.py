"""Where requests go: servers at a path, buckets with dots, the parts of AWS."""

from __future__ import annotations

import pytest

from frigate_s3_mirror.environment import load
from frigate_s3_mirror.policies import iam_policy
from frigate_s3_mirror.providers import provider_for
from frigate_s3_mirror.s3 import ObjectStore, Upload
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.storage.endpoint import endpoint_of
from stub_s3 import always, reply, stub_s3


def settings(**more: str) -> Settings:
    return load({"S3_BUCKET": "my-cams", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret", **more}).settings


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, "https://my-cams.s3.us-east-1.amazonaws.com/a%20b.jpg"),
        ({"S3_REGION": "cn-north-1"}, "https://my-cams.s3.cn-north-1.amazonaws.com.cn/a%20b.jpg"),
        ({"S3_REGION": "us-gov-west-1"}, "https://my-cams.s3.us-gov-west-1.amazonaws.com/a%20b.jpg"),
        ({"S3_REGION": "eusc-de-east-1"}, "https://my-cams.s3.eusc-de-east-1.amazonaws.eu/a%20b.jpg"),
        ({"S3_BUCKET": "my.cams.example"}, "https://s3.us-east-1.amazonaws.com/my.cams.example/a%20b.jpg"),
        ({"S3_ENDPOINT_URL": "http://nas:9000"}, "http://nas:9000/my-cams/a%20b.jpg"),
        ({"S3_ENDPOINT_URL": "http://[::1]:9000"}, "http://[::1]:9000/my-cams/a%20b.jpg"),
        (
            {"S3_ENDPOINT_URL": "https://s3.nas", "S3_ADDRESSING_STYLE": "virtual"},
            "https://my-cams.s3.nas/a%20b.jpg",
        ),
        (
            {"S3_ENDPOINT_URL": "https://my-cams.s3.nas", "S3_ADDRESSING_STYLE": "virtual"},
            "https://my-cams.s3.nas/a%20b.jpg",
        ),
        (
            {"S3_ENDPOINT_URL": "https://s3.eusc-de-east-1.amazonaws.eu", "S3_REGION": "eusc-de-east-1"},
            "https://my-cams.s3.eusc-de-east-1.amazonaws.eu/a%20b.jpg",
        ),
    ],
)
def test_an_object_has_one_address(given: dict[str, str], address: str) -> None:
    """For our own requests, and for the links that obstore signs."""
    chosen = settings(**given)
    place = endpoint_of(chosen)
    assert f"{place.base.scheme}://{place.base.netloc}{place.path_of('a b.jpg')}" == address
    assert ObjectStore(chosen, {}).presigned("a b.jpg", 60).partition("?")[0] == address


def test_a_server_at_a_path() -> None:
    """As Supabase and some gateways have it. The rule that refuses such an endpoint is the settings' own."""
    with stub_s3() as stub:
        chosen = stub.settings().model_copy(update={"endpoint_url": f"{stub.url}/storage/v1/s3/"})
        assert endpoint_of(chosen).root == "/storage/v1/s3/stub-bucket"
        store = ObjectStore(chosen, {})
        store.put(Upload("a.jpg", b"picture", 7, "image/jpeg", {}))
        stub.answering = always(reply(200, {}, b"<ListBucketResult/>"))
        store.may_list("")
        seen = [request.target for request in stub.requests]
        link = store.presigned("a.jpg", 60)
    assert seen[0] == "/storage/v1/s3/stub-bucket/a.jpg"
    assert seen[1].startswith("/storage/v1/s3/stub-bucket?")
    assert link.startswith(f"{stub.url}/storage/v1/s3/stub-bucket/a.jpg?")


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("us-east-1", "aws"), ("eu-central-1", "aws"), ("cn-northwest-1", "aws-cn"), ("us-gov-east-1", "aws-us-gov"),
        ("eusc-de-east-1", "aws-eusc"), ("us-iso-east-1", "aws-iso"), ("us-isob-east-1", "aws-iso-b"),
    ],
)  # fmt: skip
def test_names_of_resources_have_their_partition(region: str, partition: str) -> None:
    for statement in iam_policy(settings(S3_REGION=region), verify=True, lifecycle=True)["Statement"]:
        assert statement["Resource"].startswith(f"arn:{partition}:s3:::my-cams")


@pytest.mark.parametrize(
    "host", ["s3.eu-central-1.amazonaws.com", "s3.cn-north-1.amazonaws.com.cn", "s3.eusc-de-east-1.amazonaws.eu"]
)
def test_all_of_aws_is_aws(host: str) -> None:
    assert provider_for(host).name == "aws"
