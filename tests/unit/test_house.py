"""The house: imports point one way, and the documentation says what the code does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from frigate_s3_mirror.documentation import TABLES

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "frigate_s3_mirror"
ONLY_IN = {
    "obstore": {"s3", "s3_errors", "s3_reading", "storage", "doctor"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "paho": {"alert_checks", "broker", "frigate_messages", "mqtt"},
    "apprise": {"notify"},
    "typer": {"cli", "command_line", "recovery_commands"},
}
"""Who may know a library; a package stands for all of its modules."""
NEVER = {
    "runtime": {""},
    "config": {"ledger", "s3", "web", "discovery", "uploader"},
    "frigate_s3_patcher": {""},
    "events": {"ledger", "s3", "settings"},
    "ledger": {"s3", "uploader", "discovery"},
    "discovery": {"uploader", "s3"},
    "uploader": {"discovery", "web"},
    "s3_snapshot_mirror": {"web", "cli"},
}
"""Whom a module must not import ("": nothing of ours), because it must not know that there is such a thing."""


def modules() -> dict[str, Path]:
    """Every module of the program but the demo's, by its dotted name below the package."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
        if path.stem != "__init__" and PACKAGE / "demo" not in path.parents
    }


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


def libraries_of(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


def test_no_imports_go_in_a_circle() -> None:
    """There is an order in which each module imports only those before it."""
    left = {name: imports_of(path) & set(modules()) for name, path in modules().items()}
    while left:
        free = {name for name, imported in left.items() if not imported & set(left)}
        assert free, f"these import each other: {sorted(left)}"
        for name in free:
            del left[name]


def test_modules_do_not_know_what_is_none_of_their_business() -> None:
    """What the docstrings say of them, for those where it matters most."""
    for name, path in modules().items():
        for part in (name, name.split(".")[0]):
            imported = {found.split(".")[0] for found in imports_of(path)} - ({part} if "." in name else set())
            banned = NEVER.get(part, set())
            assert not (imported if "" in banned else imported & banned), f"{name} imports {sorted(imported)}"


def test_libraries_are_known_in_their_own_place_only() -> None:
    """Replacing one touches few modules."""
    for name, path in modules().items():
        for library, known_in in ONLY_IN.items():
            if library in libraries_of(path):
                assert name in known_in or name.split(".")[0] in known_in, f"{name} imports {library}"


def test_the_tables_are_what_the_code_says() -> None:
    """docs/settings.md and docs/errors.md are made from the code: run `make docs` after a change."""
    for name, (_, table) in TABLES.items():
        assert table() in (ROOT / "docs" / name).read_text()


def test_no_wait_swallows_a_cancel() -> None:
    """Python 3.11's `wait_for` loses a cancel that comes with what it waits for: the end of the service would hang."""
    guilty = [
        name for name, path in modules().items() if re.search(r"wait_for\(\s*self\.\w+\.wait\(\)", path.read_text())
    ]
    assert guilty == []
