"""The header Content-MD5: https://www.rfc-editor.org/rfc/rfc1864"""

from __future__ import annotations

import base64
import hashlib


def content_md5(body: bytes) -> str:
    """Return what the header holds for this body."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
