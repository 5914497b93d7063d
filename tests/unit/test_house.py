"""The house: imports point one way, and the documentation says what the code does."""

from __future__ import annotations

import ast
from pathlib import Path

from frigate_s3_mirror.documentation import TABLES

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "frigate_s3_mirror"
LAYERS = [
    {
        "runtime.untrusted",
        "runtime.atomic_write",
        "runtime.line_queue",
        "runtime.problem_log",
        "runtime.supervisor",
        "runtime.ticks",
    },
    {
        "units",
        "providers",
        "kinds",
        "database_words",
        "ledger_file",
        "api_rows",
        "api_pages",
        "api_expected",
        "clip_windows",
        "folders",
        "clock",
        "retry",
        "trouble",
        "pacer",
        "health",
        "broker_errors",
        "logs",
        "progress_bar",
        "stretches",
        "finding",
        "sign_of_life",
        "terminal",
        "frigate_s3_patcher",
    },
    {"setting_rules", "unmoved"},
    {"settings", "events", "scope", "s3_errors"},
    {"environment", "frigate_api", "frigate_copy", "advice"},
    {"addon_options", "keys", "lifecycle", "sources", "documentation", "policies", "command_line"},
    {"entries", "s3", "signed_requests", "api_files", "api_feed"},
    {"api_folder"},
    {"frigate_access"},
    {"lifecycle_client", "abandoned", "s3_reading"},
    {"ledger", "observers"},
    {"state_files", "scan", "sending", "inotify_eye", "spool"},
    {"bodies", "uploader", "exports", "ledger_thread", "lifetime", "clips"},
    {
        "discovery",
        "heartbeat",
        "reports",
        "rebuild",
        "catalogue",
        "clip_catalogue",
        "broker",
        "live_plan",
        "live_ledger",
        "clip_scan",
    },
    {"scan_loop", "clip_loop", "api_clip_feed", "running", "overdue"},
    {"api_full_pass", "health_watch"},
    {"api_loop"},
    {"s3_snapshot_mirror", "status", "verify", "restore", "fleet"},
    {"home_assistant", "announcer", "watchdog"},
    {"mqtt", "notify", "live", "frigate_messages"},
    {"web.access", "web.chart", "web.metrics", "web.pictures", "web.remembered"},
    {"web.views"},
    {"web.clips", "web.picture_pages"},
    {"web.app"},
    {"web.server"},
    {"companions"},
    {
        "status_view",
        "verify_view",
        "fleet_view",
        "local_checks",
        "api_checks",
        "network_checks",
        "bucket_checks",
        "clip_checks",
    },
    {"doctor"},
    {"doctor_view"},
    {"recovery_commands"},
    {"cli", "addon"},
    {"__main__"},
]


def imports_of(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("frigate_s3_mirror"):
            rest = (node.module or "").removeprefix("frigate_s3_mirror").strip(".")
            imported = {alias.name for alias in node.names if not alias.name.startswith("__")}
            if not rest or (PACKAGE / rest).is_dir():
                names |= {f"{rest}.{name}".strip(".") for name in imported}
            else:
                names.add(rest)
    return names


def test_imports_go_down_the_layers_only() -> None:
    """Every module is in a layer and imports nothing of its own or of a higher one."""
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    for module in PACKAGE.rglob("*.py"):
        if module.stem == "__init__" or PACKAGE / "demo" in module.parents:
            continue
        own = ".".join(module.relative_to(PACKAGE).with_suffix("").parts)
        upward = {name for name in imports_of(module) if level[name] >= level[own]}
        assert not upward, f"{own} imports {upward}"


def test_the_tables_are_what_the_code_says() -> None:
    """docs/settings.md and docs/errors.md are made from the code: run `make docs` after a change."""
    for name, (_, table) in TABLES.items():
        assert table() in (ROOT / "docs" / name).read_text()
