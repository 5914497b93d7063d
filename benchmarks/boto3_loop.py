"""What a script would do: eight threads around one boto3 client, each file read and put; no scan, no hash, no ledger."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config


def main(folder: Path, prefix: str) -> None:
    """Put every jpg of the folder."""
    config = Config(
        s3={"addressing_style": "path"},
        max_pool_connections=8,
        request_checksum_calculation="when_required",  # the default costs a CRC and an aws-chunked body for each file
    )
    client = boto3.client("s3", endpoint_url=os.environ["S3_ENDPOINT_URL"], region_name="us-east-1", config=config)
    bucket = os.environ["S3_BUCKET"]

    def put(path: Path) -> None:
        client.put_object(Bucket=bucket, Key=f"{prefix}/{path.name}", Body=path.read_bytes())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, folder.glob("*.jpg")))
    client.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
