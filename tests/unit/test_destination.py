"""The ledger holds the uploads of one destination; a change of the settings loses nothing, sends what is missing, and is told."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from frigate_s3_mirror.destination import home_of, key_of, layout_of, name_of
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.exports import Exports
from frigate_s3_mirror.keys import clip_key_for, key_for
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import LedgerError
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.live_ledger import LiveLedger
from frigate_s3_mirror.settings import Settings


def settings(state: Path, **more: str) -> Settings:
    values = {
        "S3_BUCKET": "bucket", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret", "S3_PATH_PREFIX": "snapshots",
        "S3_ENDPOINT_URL": "http://minio:9000", "S3_STATE_DIR": str(state), "S3_KEY_TIMEZONE": "UTC",
    }  # fmt: skip
    return Settings.model_validate({name: value for name, value in (values | more).items() if value})


SAME = [
    ("https://minio.example.com", "https://MinIO.example.com:443/"),
    ("http://minio", "https://minio"),
    ("http://minio:9000", "http://minio:9000/"),
    ("https://minio.example.com", "https://minio.example.com."),
    ("", "https://s3.eu-central-1.amazonaws.com"),
    ("https://bucket.s3.eu-central-1.amazonaws.com", "https://s3.us-east-1.amazonaws.com"),
    ("https://s3.dualstack.eu-west-1.amazonaws.com", "https://s3-eu-west-1.amazonaws.com"),
]
OTHER = [
    ("http://minio:9000", "http://minio:9001"),
    ("http://minio:9000", "http://minio"),
    ("http://minio:9000", "http://minio2:9000"),
    ("", "https://s3.cn-north-1.amazonaws.com.cn"),
    ("", "https://ec2-1-2-3-4.compute-1.amazonaws.com"),
    ("http://[::1]:9000", "http://[::2]:9000"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_place_have_one_name(one: str, other: str, tmp_path: Path) -> None:
    """Whoever writes the same address in another way sends nothing again."""
    first, second = (settings(tmp_path, S3_ENDPOINT_URL=url) for url in (one, other))
    assert name_of(first) == name_of(second)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_other_places_have_other_names(one: str, other: str, tmp_path: Path) -> None:
    """Ports, hosts and AWS's partitions are not the same place."""
    first, second = (settings(tmp_path, S3_ENDPOINT_URL=url) for url in (one, other))
    assert name_of(first) != name_of(second)


def test_a_bucket_in_the_host_name_is_the_same_place(tmp_path: Path) -> None:
    """With virtual hosts obstore puts it there; a user may, too."""
    urls = "https://objects.example.com", "https://bucket.objects.example.com"
    names = {name_of(settings(tmp_path, S3_ENDPOINT_URL=url, S3_ADDRESSING_STYLE="virtual")) for url in urls}
    assert names == {"objects.example.com/bucket/snapshots"}


def test_the_region_is_no_part_of_aws_and_a_partition_is(tmp_path: Path) -> None:
    """A bucket's name is unique in a partition."""
    names = [name_of(settings(tmp_path, S3_ENDPOINT_URL="", S3_REGION=region)) for region in ("us-east-1", "eu-west-3", "cn-north-1")]  # fmt: skip
    assert names[0] == names[1] == "AWS/bucket/snapshots"
    assert names[2] == "AWS China/bucket/snapshots"


def test_no_secret_is_in_the_name_or_the_layout(tmp_path: Path) -> None:
    """They are written to files and logs."""
    made = settings(tmp_path, S3_ACCESS_KEY="AKIAHIDDEN", S3_SECRET_KEY="veryhidden")
    assert "hidden" not in f"{name_of(made)}{layout_of(made)}".lower()


EVENT = Event("100.5-abcdef", "cam", "car", None, 100.5, 101.0, True, (), None, False)


@pytest.mark.parametrize(
    ("kind", "source", "ending"),
    [
        (Kind.SNAPSHOT, "cam-100.5-abcdef.jpg", "jpg"), (Kind.SNAPSHOT, "cam-100.5-abcdef-clean.png", "png"),
        (Kind.CLEAN, "cam-100.5-abcdef-clean.webp", "webp"), (Kind.THUMBNAIL, "row:thumbnail", "jpg"),
        (Kind.THUMBNAIL, "cam/100.5-abcdef.webp", "webp"), (Kind.METADATA, "row:metadata", "json"),
        (Kind.SNAPSHOT, "no-ending", None), (Kind.SNAPSHOT, "odd.exe", None), (Kind.SNAPSHOT, None, None),
    ],
)  # fmt: skip
def test_a_key_is_made_anew_from_what_the_ledger_knows(
    kind: Kind, source: str | None, ending: str | None, tmp_path: Path
) -> None:
    """It is the one that discovery would make; none where the source does not tell."""
    made = settings(tmp_path)
    expected = None if ending is None else key_for(EVENT, kind, ending, made)
    assert key_of(EVENT, kind, "", source, made) == expected


def entry(
    number: int, made: Settings, state: State = State.PENDING, kind: Kind = Kind.SNAPSHOT, part: str = ""
) -> Entry:
    event = replace(EVENT, id=f"{number}.5-abcdef", start_time=number + 0.5, end_time=number + 1.0)
    source = f"cam-{event.id}.jpg" if kind is not Kind.CLIP else f"recording:{part}"
    key = clip_key_for(event, part, made) if kind is Kind.CLIP else key_for(event, kind, "jpg", made)
    return Entry(0, event, kind, source, key, state, number + 1.0, part=part)


def uploaded(taken: Entry) -> Outcome:
    return Outcome(taken, State.UPLOADED, 0, 0, 0.0, size_bytes=9, sha256="5" * 64, etag="e", uploaded_at=50.0)


def rows(ledger: Ledger) -> dict[tuple[str, str], tuple[Any, ...]]:
    found = ledger.connection.execute("SELECT event_id, part, state, key, uploaded_at, sha256 FROM object")
    return {(row[0], row[1]): row[2:] for row in found}


def moved_to(made: Settings) -> Ledger:
    ledger = Ledger.of(made)
    ledger.open(may_move=True)
    return ledger


CHANGES = [
    {"S3_BUCKET": "another-bucket"},
    {"S3_ENDPOINT_URL": "http://elsewhere:9000"},
    {"S3_PATH_PREFIX": "elsewhere"},
    {"S3_BUCKET": "another-bucket", "S3_ENDPOINT_URL": "", "S3_PATH_PREFIX": ""},
]


@pytest.mark.parametrize("change", CHANGES, ids="+".join)
def test_another_destination_has_nothing_yet(
    change: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Uploads rest elsewhere, what waits gets its new key, it is told once; back again, all is as it was."""
    before, after = settings(tmp_path), settings(tmp_path, **change)
    ledger = moved_to(before)
    drafts = [entry(n, before) for n in range(10)] + [entry(1, before, kind=Kind.CLIP, part="19700101T000001Z")]
    taken = ledger.record(drafts, 0.0)
    ledger.settle([uploaded(taken[0]), uploaded(taken[10]), uploaded(taken[1]), replace(uploaded(taken[2]), state=State.FAILED, uploaded_at=None, sha256=None)])  # fmt: skip
    ledger.requeue([taken[1].row])
    ledger.import_state(["77.5-abcdef"], {}, 0.0)
    as_it_was = rows(ledger)
    ledger.close()

    ledger = moved_to(after)
    assert ledger.moved is not None
    assert ledger.moved.to_send == 3
    assert ledger.counts()[State.UPLOADED] == 0
    assert ledger.last_uploaded() is None
    found = rows(ledger)
    assert {name: row[:2] for name, row in found.items()} == {
        (e.event.id, ""): (
            "failed" if e.event.id == "2.5-abcdef" else "pending",
            key_for(e.event, e.kind, "jpg", after),
        )
        for e in drafts[1:10]
    }
    assert all(row[2:] == (None, None) for row in found.values())
    assert not any(e.was_uploaded for e in ledger.due(State.PENDING, 1.0, 99))
    again = ledger.record([entry(0, after)], 0.0)  # as the scan finds it
    ledger.settle([uploaded(again[0])])
    ledger.close()
    assert caplog.text.count("the destination changed from minio:9000/bucket/snapshots to") == 1
    assert "3 objects are sent again" in caplog.text

    same = moved_to(after)
    assert same.moved is None
    same.close()

    ledger = moved_to(before)
    back = rows(ledger)
    assert {name: row[:2] for name, row in back.items()} == {name: row[:2] for name, row in as_it_was.items()}
    assert [row for row in back.values() if row[0] == "uploaded"] == [row for row in as_it_was.values() if row[0] == "uploaded"]  # fmt: skip
    ledger.close()
    ledger = moved_to(after)
    assert ledger.moved is not None
    assert ledger.moved.to_send == 2
    assert rows(ledger)[("0.5-abcdef", "")][0] == "uploaded"
    ledger.close()


def test_until_the_service_has_moved_it_nobody_else_uses_it(tmp_path: Path) -> None:
    """A command with other settings says whose uploads the ledger holds, instead of numbers that are another bucket's."""
    before, after = settings(tmp_path), settings(tmp_path, S3_BUCKET="another-bucket")
    moved_to(before).close()
    with pytest.raises(LedgerError, match="is about the uploads to minio:9000/bucket/snapshots"), Ledger.of(after).reading():  # fmt: skip
        pass
    with pytest.raises(LedgerError, match="minio:9000/another-bucket/snapshots"):
        Ledger.of(after).open()
    with pytest.raises(LedgerError, match="start the mirror with these settings first"):
        Ledger.of(after).open_beside()
    with Ledger.of(before).reading() as ledger:
        assert ledger.counts()[State.UPLOADED] == 0


def test_a_ledger_that_nobody_has_claimed_is_the_first_ones(tmp_path: Path) -> None:
    """Older versions wrote no name: what they sent went where the settings say now."""
    made = settings(tmp_path)
    ledger = Ledger(made.ledger_dir / "ledger.db")
    ledger.open()
    ledger.settle([uploaded(ledger.record([entry(1, made)], 0.0)[0])])
    ledger.close()
    ledger = moved_to(made)
    assert ledger.moved is None
    assert ledger.counts()[State.UPLOADED] == 1
    ledger.close()


def test_the_list_of_uploads_is_never_taken_for_another_buckets(tmp_path: Path) -> None:
    """The exports name the present destination's; with the ledger lost and the bucket changed at once they are left out."""
    before, after = settings(tmp_path), settings(tmp_path, S3_BUCKET="another-bucket")
    ledger = moved_to(before)
    ledger.settle([uploaded(taken) for taken in ledger.record([entry(n, before) for n in range(5)], 0.0)])
    Exports(before, ledger).write()
    ledger.close()
    listed = tmp_path / ".s3_uploaded_events"
    assert len(listed.read_text().splitlines()) == 5

    ledger = moved_to(after)
    exports = Exports(after, ledger)
    assert exports.import_into_ledger(0.0) == 0
    exports.write()
    assert listed.read_text() == ""
    ledger.close()

    ledger = moved_to(before)
    Exports(before, ledger).write()
    assert len(listed.read_text().splitlines()) == 5
    ledger.close()
    ledger.path.unlink()
    ledger = moved_to(after)
    assert Exports(after, ledger).import_into_ledger(0.0) == 0
    assert ledger.counts()[State.UPLOADED] == 0
    ledger.close()


def test_live_pictures_of_another_bucket_are_none_here_and_their_numbers_stay_taken(tmp_path: Path) -> None:
    """Back again, none is overwritten."""
    before, after = settings(tmp_path), settings(tmp_path, S3_PATH_PREFIX="other")
    moved_to(before).close()
    live = LiveLedger(before.ledger_dir / "ledger.db")
    live.open()
    live.begin(EVENT, "live-{}.jpg".format, 100.0)
    live.done(EVENT.id, 1, 9, "5" * 64, 101.0)
    live.close()
    moved_to(after).close()
    live.open()
    assert live.of_event(EVENT.id) == []
    assert live.last_sha256(EVENT.id) is None
    assert live.begin(EVENT, "live-{}.jpg".format, 102.0)[0] == 2
    live.close()


def test_a_changed_layout_of_keys_is_told_and_moves_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Keys are a function of the settings; what is known keeps its key, as S3_KEY_TEMPLATE's description says."""
    before = settings(tmp_path)
    ledger = moved_to(before)
    taken = ledger.record([entry(1, before), entry(2, before)], 0.0)
    ledger.settle([uploaded(taken[0])])
    as_it_was = rows(ledger)
    ledger.close()
    for change in ({"S3_KEY_TIMEZONE": "Asia/Tokyo"}, {"S3_KEY_TEMPLATE": "{camera}/{event_id}"}):
        caplog.clear()
        after = settings(tmp_path, **change)
        for _ in range(2):
            ledger = moved_to(after)
            assert rows(ledger) == as_it_was
            ledger.close()
        assert caplog.text.count("the layout of keys changed from") == 1
        assert "keeps its key" in caplog.text


def test_a_lost_ledger_and_another_layout_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The state files say how keys were made: then what they do not name is sent under other keys, and people hear so."""
    before, after = settings(tmp_path), settings(tmp_path, S3_KEY_TIMEZONE="Asia/Tokyo")
    ledger = moved_to(before)
    Exports(before, ledger).write()
    ledger.close()
    ledger.path.unlink()
    ledger = moved_to(after)
    Exports(after, ledger).import_into_ledger(0.0)
    ledger.close()
    assert "sent again under other keys" in caplog.text
    assert "UTC" in caplog.text
    assert "Asia/Tokyo" in caplog.text


def test_opening_for_the_same_destination_touches_no_entry(tmp_path: Path) -> None:
    """A million rows cost nothing then: the only statements that look at entries look at their number or their names."""
    made = settings(tmp_path)
    moved_to(made).close()
    seen: list[str] = []
    ledger = Ledger.of(made)
    connect = ledger._connect

    def traced(mode: str, timeout: float) -> None:
        connect(mode, timeout)
        ledger.connection.set_trace_callback(seen.append)

    ledger._connect = traced  # type: ignore[method-assign]
    ledger.open(may_move=True)
    assert seen
    assert not [statement for statement in seen if "object" in statement or "elsewhere" in statement]
    ledger.close()


def test_a_poisoned_event_moves_with_the_others(tmp_path: Path) -> None:
    """No key can be made of it: it keeps the one that it has."""
    before, after = settings(tmp_path), settings(tmp_path, S3_PATH_PREFIX="other")
    ledger = moved_to(before)
    taken = ledger.record([entry(n, before) for n in range(21)], 0.0)
    ledger.connection.execute("UPDATE object SET event = '{' WHERE id = ?", (taken[0].row,))
    ledger.close()
    ledger = moved_to(after)
    keys = {name[0]: row[1] for name, row in rows(ledger).items()}
    assert keys.pop(taken[0].event.id) == taken[0].key
    assert all(key.startswith("other/") for key in keys.values())
    ledger.close()


def test_the_home_is_plain_json_among_the_facts(tmp_path: Path) -> None:
    """`facts` reads it like all others."""
    made = settings(tmp_path)
    ledger = moved_to(made)
    assert ledger.facts() == {"destination": home_of(made).destination, "key_layout": home_of(made).layout}
    with sqlite3.connect(ledger.path) as connection:
        value = connection.execute("SELECT value FROM fact WHERE name = 'destination'").fetchone()[0]
    assert json.loads(value) == "minio:9000/bucket/snapshots"
    ledger.close()
