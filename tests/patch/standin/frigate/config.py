"""The stand-in's configuration: where its database is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

VARIANTS = frozenset(filter(None, os.environ.get("STANDIN", "").split(",")))


@dataclass(frozen=True)
class Database:
    """The database section."""

    path: str = "/config/standin.db"


@dataclass(frozen=True)
class Config:
    """What FrigateApp.config is."""

    database: Database = field(default_factory=Database)
