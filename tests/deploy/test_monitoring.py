"""Alerts and dashboard: they use the metrics that there are, Prometheus understands them, and each alert fires when it should."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.main import get_command

from conftest import MakeMirror
from frigate_s3_mirror.cli import app
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.settings import Settings
from servers import Target
from status_pages import address_of, ask

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
DOCUMENT = ROOT / "docs" / "monitoring.md"
METRIC_NAMES = (
    "frigate_s3_mirror_backlog",
    "frigate_s3_mirror_build_info",
    "frigate_s3_mirror_clip_backlog",
    "frigate_s3_mirror_event_lag_seconds_bucket",
    "frigate_s3_mirror_event_lag_seconds_count",
    "frigate_s3_mirror_event_lag_seconds_sum",
    "frigate_s3_mirror_health",
    "frigate_s3_mirror_lag_seconds",
    "frigate_s3_mirror_last_upload_timestamp_seconds",
    "frigate_s3_mirror_log_lines_total",
    "frigate_s3_mirror_missing_snapshots",
    "frigate_s3_mirror_objects",
    "frigate_s3_mirror_s3_answered_timestamp_seconds",
    "frigate_s3_mirror_upload_bytes_total",
    "frigate_s3_mirror_upload_duration_seconds_bucket",
    "frigate_s3_mirror_upload_duration_seconds_count",
    "frigate_s3_mirror_upload_duration_seconds_sum",
    "frigate_s3_mirror_uploads_total",
)
"""The samples of the service at /metrics."""
MORE_NAMES = (
    "frigate_s3_mirror_clip_bytes_total",
    "frigate_s3_mirror_clip_segments_total",
    "frigate_s3_mirror_live_pictures_total",
    "frigate_s3_mirror_log_lines_dropped_total",
    "frigate_s3_mirror_restarts_total",
)
"""Those that are there once a clip, or a live picture, was sent, a line of the log dropped, or a loop started anew."""
TOKEN = "a-token-of-the-tests"
_VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$camera": ".*"}
_NAME = re.compile(r"\bfrigate_s3_mirror_\w+")


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    """All that show something; rows only separate."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    """The dashboard's, with its variables filled in as Grafana would."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    for name, value in _VARIABLES.items():
        found = [expression.replace(name, value) for expression in found]
    return found


def promtool(*arguments: str | Path) -> None:
    """Run it; skip where it is not."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# -- names ---------------------------------------------------------------------------------------------------------


def test_every_metric_is_used_and_no_other() -> None:
    """A metric that is renamed in the code must be renamed here."""
    used = set(_NAME.findall(ALERTS.read_text() + DASHBOARD.read_text()))
    assert used == set(METRIC_NAMES)


def test_commands_settings_and_metrics_of_the_texts_exist() -> None:
    """What an alert or the document tells a person to do can be done."""
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    variables = {str(field.alias) for field in Settings.model_fields.values()}
    for text in (ALERTS.read_text(), DASHBOARD.read_text(), DOCUMENT.read_text()):
        named = set(re.findall(r"`(?:[A-Z0-9_]+=\S+ )?frigate-s3-mirror ([a-z-]+)", text))
        assert named <= commands
        assert set(re.findall(r"\bS3_[A-Z0-9_]+\b", text)) <= variables
        assert set(_NAME.findall(text)) <= {*METRIC_NAMES, *MORE_NAMES}


def test_the_document_tells_of_each_alert() -> None:
    """In the order of the file."""
    alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text())
    assert re.findall(r"^\| `(FrigateS3Mirror\w+)`", DOCUMENT.read_text(), re.MULTILINE) == alerts


# -- promtool ------------------------------------------------------------------------------------------------------


def test_prometheus_takes_the_alerts() -> None:
    """Syntax, templates of annotations, no rule twice."""
    promtool("check", "rules", ALERTS)


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    """The cases are in alerts_test.yml, minute by minute."""
    promtool("test", "rules", Path(__file__).with_name("alerts_test.yml"))


def test_each_alert_has_a_case() -> None:
    """One that fires, by its name."""
    cases = Path(__file__).with_name("alerts_test.yml").read_text()
    for alert in re.findall(r"- alert: (\w+)", ALERTS.read_text()):
        assert f'alertname="{alert}",alertstate="firing"' in cases or f"alertname: {alert}\n" in cases


def test_prometheus_parses_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    """As recording rules, since every promtool can check those."""
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions())]
    path = tmp_path / "rules.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", path)


# -- the dashboard's form ------------------------------------------------------------------------------------------


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """No data source, id or folder of the Grafana in which it was made."""
    content = dashboard()
    assert "id" not in content
    variables = {variable["name"]: variable for variable in content["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    sources = [panel["datasource"] for panel in panels()]
    sources += [target["datasource"] for panel in panels() for target in panel["targets"]]
    sources += [variable["datasource"] for variable in variables.values() if variable["type"] == "query"]
    assert all(source == chosen for source in sources)


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    """Title, description, unit; expressions that heed the chosen installations."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    for target in panel["targets"]:
        assert set(_NAME.findall(target["expr"])) <= set(METRIC_NAMES)
        assert target["expr"].count('instance=~"$instance"') == len(_NAME.findall(target["expr"]))


def test_no_panel_covers_another() -> None:
    """24 columns; ids are unique."""
    content = dashboard()["panels"]
    assert len({panel["id"] for panel in content}) == len(content)
    places = [panel["gridPos"] for panel in content]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for a, b in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above


# -- all together --------------------------------------------------------------------------------------------------


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("front-door",)) as simulated:
        yield simulated


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def scrape_config(target: str) -> str:
    """The one in the document, for this target."""
    found = re.search(r"```yaml\n(# prometheus\.yml\n.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    config = found[1].replace("frigate.lan:9380", target).replace("/etc/prometheus/frigate-s3-mirror.token", "token")
    return "global: {scrape_interval: 1s, evaluation_interval: 1s}\n" + config.replace("alerts.yml", str(ALERTS))


def test_a_real_prometheus_reads_the_real_service(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    """With the document's scrape job and token: every expression has an answer, and no alert is even pending."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (Debian package prometheus)")
    mirror = mirror_for(frigate, rclone, S3_STATUS_LISTEN="127.0.0.1:0", S3_STATUS_TOKEN=TOKEN)
    mirror.start()
    address = address_of(mirror)
    frigate.end_event(frigate.begin_event(), delay=0.001)
    mirror.wait_for(lambda: "S3 upload done" in mirror.log() and "health=OK" in mirror.log())
    text = ask(address, "/metrics", Authorization=f"Bearer {TOKEN}").text
    exposed = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    own = {name for name in exposed if name.startswith("frigate_s3_mirror_") and not name.endswith("_created")}
    assert own == set(METRIC_NAMES)
    (tmp_path / "token").write_text(TOKEN)
    config = tmp_path / "prometheus.yml"
    config.write_text(scrape_config(address.removeprefix("http://")))
    server = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}", f"--web.listen-address={server}"]  # fmt: skip
    with (tmp_path / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        mirror.wait_for(lambda: _first_value(server, 'up{job="frigate-s3-mirror"}') == "1", 60)
        frigate.end_event(frigate.begin_event(), delay=0.001)
        mirror.wait_for(lambda: _first_value(server, "sum(rate(frigate_s3_mirror_uploads_total[1m])) > bool 0") == "1")
        time.sleep(2)
        unanswered = [text for text in expressions() if _first_value(server, text) is None]
        assert unanswered == []
        assert _asked(server, "ALERTS") == []
    finally:
        process.terminate()
        process.wait(20)


def _asked(server: str, expression: str) -> list[dict[str, Any]]:
    query = urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(f"http://{server}/api/v1/query?{query}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
            return found
    except urllib.error.URLError:
        return []


def _first_value(server: str, expression: str) -> str | None:
    found = _asked(server, expression)
    return str(found[0]["value"][1]) if found else None
