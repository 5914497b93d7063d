"""What it means when an MQTT broker cannot be had: one sentence each, with what to do; and which of them is news."""

from __future__ import annotations

import math
import socket
import ssl

_AGAIN_AFTER = 600.0
"""Seconds after which a sentence may be said again when others were said in between."""
_REFUSED_USER = frozenset({"Bad user name or password", "Not authorized"})
_PLAIN = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING"})


def refusal(reason: str, *, has_user: bool) -> str:
    """The broker answered and said no. `reason` is the name of its code."""
    if reason in _REFUSED_USER:
        fix = "check S3_MQTT_USER and S3_MQTT_PASSWORD" if has_user else "set S3_MQTT_USER and S3_MQTT_PASSWORD"
        return f"it refuses the user ({reason.lower()}); {fix}"
    return f"it refuses the connection ({reason.lower()}); its log says more"


def no_connection(error: BaseException | None) -> str:
    """The connection did not come about."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        return f"its certificate is not trusted ({why}); S3_MQTT_CA_BUNDLE names the PEM file of a private authority"
    if isinstance(error, ssl.SSLError) and error.reason in _PLAIN:
        return "it does not speak TLS on this port; write mqtt:// in S3_MQTT_URL, or the port of its TLS"
    if isinstance(error, socket.gaierror):
        return f"its host name is not found ({error.strerror}); check S3_MQTT_URL"
    if isinstance(error, TimeoutError):
        return "it does not answer; check S3_MQTT_URL and firewalls"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there; start the broker, or correct S3_MQTT_URL"
    said = getattr(error, "strerror", None) or type(error).__name__
    return f"it cannot be reached ({said}); check S3_MQTT_URL"


NO_GREETING = "it closes the connection without a word; for the port of its TLS write mqtts:// in S3_MQTT_URL"
LOST = "the connection is lost"


class News:
    """Decides whether a sentence is said: not twice in a row, and in a quarrel of sentences each only now and then."""

    def __init__(self) -> None:
        self._last = ""
        self._said_at: dict[str, float] = {}

    def is_bad_news(self, sentence: str, now: float) -> bool:
        """Whether to say that something is wrong."""
        if sentence == self._last or now - self._said_at.get(sentence, -math.inf) < _AGAIN_AFTER:
            return False
        self._last, self._said_at[sentence] = sentence, now
        return True

    def is_good_news(self, *, at_first: bool = True) -> bool:
        """Whether to say that all is well: at first (unless nobody asked), and after bad news."""
        is_news = self._last != "well" and (at_first or self._last != "")
        self._last = "well"
        return is_news
