"""Has a server show that it is S3: it must refuse what is signed wrongly, and say so as S3 does."""

from __future__ import annotations

import http.client
import re

from frigate_s3_mirror.keys import own_key
from frigate_s3_mirror.s3_errors import of_transport
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.signed_requests import SignedRequests

_CODE = re.compile(rb"<Code>(SignatureDoesNotMatch|AccessDenied|InvalidSignature|Forbidden)</Code>")
_NAME = "doctor-signature-check.json"  # no heartbeat for `fleet`, should a server store it


def refuses_wrong_signatures(requests: SignedRequests, settings: Settings) -> bool:
    """Return whether a PUT with a spoiled signature is refused in S3's words. Only what is no S3 stores it.

    Raises StoreError without an answer.
    """
    key = own_key(settings, _NAME)
    try:
        answer = requests.send(
            "PUT", key, headers={"content-type": "application/json"}, body=b"{}", keys=requests.spoiled_keys
        )
    except (OSError, http.client.HTTPException) as error:
        raise of_transport(error) from error
    return answer.status in {400, 401, 403} and _CODE.search(answer.body) is not None
