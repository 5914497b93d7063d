"""The bucket's rules, against what is no S3."""

from __future__ import annotations

import pytest

from frigate_s3_mirror.lifecycle_client import LifecycleClient, LifecycleError
from stub_s3 import always, reply, stub_s3


@pytest.mark.parametrize("status", [200, 302, 500])
def test_a_page_is_no_configuration(status: int) -> None:
    """It is told in a sentence."""
    with stub_s3() as stub:
        stub.answering = always(reply(status, {"Content-Type": "text/html"}, b"<html><br>log in"))
        with pytest.raises(LifecycleError, match="rules cannot be read"):
            LifecycleClient(stub.settings()).foreign_rules()
