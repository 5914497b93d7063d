"""Who may look and who may press a button."""

from __future__ import annotations

import pytest

from frigate_s3_mirror.web.access import SESSION_COOKIE, Access, Throttle, bearer, local_target

TOKEN = "a-long-token"


def test_the_cookie_keeps_its_name() -> None:
    """Else an update signs everybody out."""
    assert SESSION_COOKIE == "frigate_s3_mirror_session"


def throttled(failures: int, at: float = 100.0) -> Throttle:
    throttle = Throttle()
    for _ in range(failures):
        throttle.failed("10.0.0.1", at)
    return throttle


def test_ten_failures_a_minute_are_free() -> None:
    """The eleventh attempt waits; a minute after them nothing does."""
    assert [throttled(9).wait_seconds("10.0.0.1", 100.0) for _ in range(3)] == [0.0] * 3
    throttle = throttled(10)
    assert [throttle.wait_seconds("10.0.0.1", 100.0) for _ in range(5)] == [0.0, 1.0, 2.0, 3.0, None]
    assert throttled(10).wait_seconds("10.0.0.1", 160.0) == 0.0
    late = throttled(10)
    late.wait_seconds("10.0.0.1", 159.9)
    assert late.wait_seconds("10.0.0.1", 159.9) == pytest.approx(1.0)
    over = throttled(10)
    assert [over.wait_seconds("10.0.0.1", 160.0) for _ in range(3)] == [0.0] * 3


def test_a_place_in_the_queue_is_taken_whole() -> None:
    """The next attempt comes a second after the one before, not after now."""
    throttle = throttled(10)
    assert throttle.wait_seconds("10.0.0.1", 100.0) == 0.0
    assert throttle.wait_seconds("10.0.0.1", 100.25) == 0.75
    assert throttle.wait_seconds("10.0.0.1", 109.0) == 0.0


def test_the_queue_is_empty_on_a_machine_that_just_started() -> None:
    assert throttled(10, 0.0).wait_seconds("10.0.0.1", 0.0) == 0.0


def test_of_old_failures_only_the_last_count() -> None:
    """An address that fails slowly never waits; and what is remembered of it is bounded."""
    throttle = Throttle()
    for number in range(100):
        throttle.failed("10.0.0.1", number * 10.0)
    assert throttle.wait_seconds("10.0.0.1", 1000.0) == 0.0
    assert len(throttle._by_address["10.0.0.1"].failed_at) <= 11


def test_the_address_that_is_forgotten_is_the_first() -> None:
    """And only a new one pushes it out."""
    throttle = throttled(10, 0.0)
    for number in range(999):
        throttle.failed(f"10.1.{number // 250}.{number % 250}", 0.0)
    throttle.failed("10.0.0.1", 1.0)
    assert "10.0.0.1" in throttle._by_address
    throttle.failed("10.2.0.1", 1.0)
    assert "10.0.0.1" not in throttle._by_address
    assert len(throttle._by_address) == 1000


def test_a_session_is_no_form_and_no_ticket() -> None:
    """Each signature is good for one purpose, and for the server that made it."""
    access, again = Access(TOKEN), Access(TOKEN)
    session = access.new_session()
    number, _, signature = session.partition(".")
    assert access.is_session(session)
    assert not again.is_session(session)  # the secret is of this run
    assert access.new_session() != session
    assert len(number) >= 24
    for wrong in (None, "", ".", number, f".{signature}", f"{number}.", f"x{session}", f"{number}.{access.form_token(number)}"):  # fmt: skip
        assert not access.is_session(wrong), wrong
    assert not access.may_act({}, session, signature)
    assert not access.may_act({}, None, access.form_token(""))
    assert access.may_act({"sec-fetch-site": "none"}, session, access.form_token(session))
    for site in ("same-site", "cross-site", ""):
        assert not access.may_act({"sec-fetch-site": site}, session, access.form_token(session))


def test_another_token_ends_all_sessions_and_forms() -> None:
    """Also where the server's own secret stayed; and without a token they are signed all the same."""
    secret = b"s" * 32
    first, second, none = (Access(token, secret) for token in (TOKEN, "other", None))
    session = first.new_session()
    assert Access(TOKEN, secret).is_session(session)
    assert not second.is_session(session)
    assert not none.is_session(session)
    own = none.new_session()
    assert none.may_act({}, own, none.form_token(own))
    assert none.may_act({"sec-fetch-site": "same-origin"}, own, none.form_token(own))
    assert not none.may_act({}, own, first.form_token(own))


def test_who_may_look() -> None:
    """Everybody without a token; else who has it, or a session."""
    assert Access(None).may_look({}, None)
    assert not Access(None).is_token("None")
    access = Access(TOKEN)
    assert access.is_token(TOKEN)
    assert not access.is_token(TOKEN[:-1])
    assert not access.may_look({}, None)
    assert not access.may_look({}, "no.session")
    assert access.may_look({}, access.new_session())
    assert access.may_look({"authorization": f"Bearer {TOKEN}"}, "no.session")


def test_a_ticket_is_bound_to_its_time_and_place() -> None:
    access = Access(TOKEN)
    text = access.ticket("/clip/a", 1000)
    assert text.startswith("?until=1000&ticket=")
    query = {"until": "1000", "ticket": text.rpartition("=")[2]}
    assert access.has_ticket("/clip/a", query, 999.5)
    assert not access.has_ticket("/clip/a", query, 1000.0)
    assert not access.has_ticket("/clip/a", {"until": "1000"}, 999.0)
    assert not access.has_ticket("/clip/a", {"until": "", "ticket": query["ticket"]}, -1.0)
    far = {"until": "9" * 11, "ticket": access.ticket("/clip/a", int("9" * 11)).rpartition("=")[2]}
    assert access.has_ticket("/clip/a", far, 999.0)
    further = {"until": "9" * 12, "ticket": access.ticket("/clip/a", int("9" * 12)).rpartition("=")[2]}
    assert not access.has_ticket("/clip/a", further, 999.0)


@pytest.mark.parametrize(
    ("authorization", "token"),
    [("Bearer abc", "abc"), ("bEARER  abc ", "abc"), ("Bearer ", ""), ("Basic abc", None), ("", None), ("abc", None)],
)
def test_a_bearer(authorization: str, token: str | None) -> None:
    assert bearer({"authorization": authorization}) == token
    assert bearer({}) is None


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("localhost:80", True), ("LOCALHOST", True), ("Nas.Local", True), ("nas.local:9380", True), ("127.0.0.2:1", True), ("[::1]", True),
        ("::1", False), ("192.168.1.5", False), ("8.8.8.8:80", False), ("[2001:db8::1]:80", False), ("localhost.evil.example", False),
    ],
)  # fmt: skip
def test_which_names_are_this_machines(host: str, is_known: bool) -> None:
    assert Access(None).knows_host(host, "NAS.local") is is_known
    assert Access(None).knows_host("Xbox:80", "Xbox")
    assert Access(None).knows_host("[::1]:80", "")
    assert Access(TOKEN).knows_host(host, "NAS.local")


@pytest.mark.parametrize(
    ("target", "is_ours"),
    [
        ("/", True), ("/gallery", True), ("/livestock", False), ("/live", False), ("/sign-out", False), ("/sign", True), ("gallery", False),
        ("/" + "x" * 1998, True), ("/" + "x" * 1999, False), ("/a\\b", False), ("/a\x7f", False), ("/\u2028", False), ("//evil.example", False),
    ],
)  # fmt: skip
def test_where_signing_in_leads_to(target: str, is_ours: bool) -> None:
    assert local_target(target) == (target if is_ours else "/")
