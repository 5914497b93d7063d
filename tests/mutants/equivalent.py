"""Changes that no test can notice, because they change nothing that anybody could see: by name, with the reason."""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {}
