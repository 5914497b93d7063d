"""The least that any uploader could do: eight threads that read files and put them; no scan, no hash, no ledger."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
from obstore.store import S3Store


def main(folder: Path, prefix: str) -> None:
    """Put every jpg of the folder."""
    store = S3Store(
        os.environ["S3_BUCKET"],
        endpoint=os.environ["S3_ENDPOINT_URL"],
        access_key_id=os.environ["S3_ACCESS_KEY"],
        secret_access_key=os.environ["S3_SECRET_KEY"],
        region="us-east-1",
        client_options={"allow_http": True},
    )

    def put(path: Path) -> None:
        obstore.put(store, f"{prefix}/{path.name}", path.read_bytes(), use_multipart=False)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, folder.glob("*.jpg")))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
