"""Cleans up what an end in the middle left of a large upload: parts that the bucket keeps, and bills, without showing them.

An upload that fails while the service runs is aborted by obstore itself. Aborted here is only what belongs to an entry
that is still pending, so that nobody else's upload under the same prefix is touched.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator

from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.signed_requests import SignedRequestError, SignedRequests, said, text_of

_MOST_PAGES = 10


def abort_abandoned(settings: Settings, keys: Collection[str]) -> int:
    """Abort unfinished uploads of these keys; returns how many there were.

    Where the key may not list them (s3:ListBucketMultipartUploads), the bucket's lifecycle rule has to do. Whatever goes
    wrong, clips are uploaded afterwards: nothing is raised.
    """
    aborted = 0
    try:
        requests = SignedRequests(settings)
        for key, upload_id in _unfinished(requests, settings.path_prefix):
            if key not in keys:
                continue
            try:
                _abort(requests, key, upload_id)
                aborted += 1
            except SignedRequestError as error:
                logger().info("S3 clips: an unfinished upload of before cannot be cleaned up key=%s (%s)", key, error)
    except Exception as error:  # noqa: BLE001  # a courtesy to the bucket, on the way to the uploads
        logger().info("S3 clips: unfinished uploads of before cannot be cleaned up (%s); see 'lifecycle'", error)
    if aborted:
        logger().info("S3 clips: %d unfinished uploads of before are cleaned up", aborted)
    return aborted


def _abort(requests: SignedRequests, key: str, upload_id: str) -> None:
    status, body = requests.ask("DELETE", {"uploadId": upload_id}, key=key)
    if status not in {200, 204, 404}:
        raise SignedRequestError(said(status, body))


def _unfinished(requests: SignedRequests, prefix: str) -> Iterator[tuple[str, str]]:
    """Key and id of each. https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html"""
    query = {"uploads": "", "prefix": f"{prefix}/" if prefix else ""}
    for _ in range(_MOST_PAGES):
        status, body = requests.ask("GET", query)
        if status != 200:
            raise SignedRequestError(said(status, body))
        root = ET.fromstring(body)  # noqa: S314  # from the user's own server
        for found in root:
            if found.tag.endswith("Upload"):
                yield text_of(found, "Key") or "", text_of(found, "UploadId") or ""
        if text_of(root, "IsTruncated") != "true":
            return
        query |= {
            "key-marker": text_of(root, "NextKeyMarker") or "",
            "upload-id-marker": text_of(root, "NextUploadIdMarker") or "",
        }
