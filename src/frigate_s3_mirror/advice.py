"""Whether what an upload failed of needs a person: asked of a sentence, since that is what the ledger keeps of an error."""

from __future__ import annotations

from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3_errors import CODES, NO_ANSWER, STATUSES

_CLASSES: list[tuple[str, ErrorClass]] = [
    *((advice.rpartition("no such bucket; ")[2], error_class) for error_class, advice in CODES.values()),
    *((advice, error_class) for _, error_class, advice in STATUSES),
    *((sentence.rstrip("."), error_class) for error_class, sentence in NO_ANSWER.values()),
]
_NEEDING_A_PERSON = frozenset(text for text, error_class in _CLASSES if error_class is ErrorClass.CONFIGURATION)


def must_act(sentence: str) -> bool:
    """Return whether an error with this sentence stays until somebody changes something (the class CONFIGURATION)."""
    return any(advice in sentence for advice in _NEEDING_A_PERSON)
