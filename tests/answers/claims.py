"""What a sentence may say of an answer: each claim, and the answers of which it is true."""

from __future__ import annotations

import re
from collections.abc import Callable

from answers.told import SPOILED, Answer
from stub_s3 import CUT, Silence

_OF_S3_LATER = {False: ("InvalidPart",)}
"""What S3 itself says at the end to who believed another program's answer to a part."""
_REGION = {"PermanentRedirect", "TemporaryRedirect", "SignatureDoesNotMatch"}


def _is_cut(answer: Answer) -> bool:
    return answer.look == CUT or (answer.status is None and not isinstance(answer.raw, Silence))


CLAIMS: tuple[tuple[str, Callable[[Answer], bool]], ...] = (
    # S3 gives a code with every refusal of a PUT, so that a bare 400 or 416 is another program's
    (r"no answer of S3's|is not S3", lambda a: not a.by_s3 or (a.status in {400, 416} and not a.code) or "look is answered HTML" in a.name),
    (r"S3_ACCESS_KEY|S3_SECRET_KEY|key may not|key may do", lambda a: a.status in {401, 403}),
    (r"S3_REGION", lambda a: a.status == 301 or a.code in _REGION),
    (r"slow down", lambda a: a.code in {"SlowDown", "TooManyRequests"} or a.status == 429),
    (r"did not answer in time", lambda a: isinstance(a.raw, Silence)),
    (r"broke off|closed the connection", _is_cut),
    (r"https", _is_cut),  # a TLS port may hang up on plain HTTP
    (r"reset|refuses connections|unreachable|DNS|TLS|certificate|proxy|not speak HTTP|cannot be read", lambda _: False),
    (r"storage class|STORAGE_CLASS", lambda a: a.code in {"InvalidStorageClass", "NotImplemented"}),
    (r"under this key", lambda a: a.status == 412),
    (r"takes no uploads", lambda a: a.status == 405),
    (r"no bucket|no such bucket", lambda a: a.code == "NoSuchBucket"),
    (r"larger than the server takes", lambda a: a.code == "EntityTooLarge"),
    (r"longer than 1024", lambda a: a.code == "KeyTooLongError"),
    (r"credentials expired", lambda a: a.code == "ExpiredToken"),
    (r"clock", lambda a: a.code == "RequestTimeTooSkewed"),
    (r"too slow or broke", lambda a: a.code == "RequestTimeout"),
    (r"in the way", lambda a: a.status == 409),
    (r"damaged", lambda a: a.code == "BadDigest"),
    (r"something else than was sent", lambda a: a.name == SPOILED),
    (r"firewall|rule of the bucket", lambda a: a.status in {401, 403} or (a.status in {400, 416} and not a.code)),
    (r"refuses this object", lambda a: a.status in {400, 411, 413, 416}),
    (r"Unforeseen|Traceback|None", lambda _: False),
)  # fmt: skip


def false_claims(answer: Answer, sentence: str, *, others_passed: bool) -> list[str]:
    """What the sentence says that is not so."""
    found = [match[0] for claim, is_true in CLAIMS if (match := re.search(claim, sentence)) and not is_true(answer)]
    if "takes others" in sentence and not others_passed:
        found.append("takes others")
    said = re.search(r"S3 says (?:status )?([\w.]+?)(?=[ :;.(]|$)", sentence)
    told = {"500"} if answer.look is not None else set()
    told |= {answer.code, str(answer.status), *_OF_S3_LATER.get(answer.by_s3, ())}
    if said is not None and said[1] not in told:
        found.append(said[0])
    return found
