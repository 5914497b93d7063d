"""Two independent real S3 servers, as child processes on loopback: rclone's and moto's."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


@dataclass(frozen=True)
class Target:
    """One bucket on one server."""

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str

    def environment(self) -> dict[str, str]:
        """The variables that point the mirror here."""
        return {
            "S3_ENDPOINT_URL": self.endpoint_url,
            "S3_ACCESS_KEY": self.access_key,
            "S3_SECRET_KEY": self.secret_key,
            "S3_BUCKET": self.bucket,
        }

    def client(self) -> S3Client:
        """A client that is not ours, to look at the bucket with."""
        client: S3Client = boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5}),
        )
        return client

    def objects(self) -> dict[str, bytes]:
        """Everything in the bucket but heartbeats, by key."""
        client = self.client()
        try:
            found: dict[str, bytes] = {}
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
                for item in page.get("Contents", []):
                    if "/.mirror/" not in f"/{item['Key']}":
                        found[item["Key"]] = client.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read()
            return found
        finally:
            client.close()


@contextmanager
def rclone_server(root: Path) -> Iterator[EmbeddedS3]:
    """rclone's S3 server over a folder; it checks signatures."""
    with EmbeddedS3(root, bucket="first") as server:
        yield server


@contextmanager
def moto_server() -> Iterator[str]:
    """moto's S3 server; yields its endpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=1).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        yield endpoint
    finally:
        process.terminate()
        process.wait(10)
