"""Changes that no test can notice, because they change nothing that anybody could see: by name, with the reason."""

from __future__ import annotations

_LENGTH = "one byte more of randomness is no worse"
_PURPOSE = "a purpose is only compared with itself; that it differs from the others stays true"
_FIRST_COUNT = "the first count, up to the mark before all rows, is of nothing and sets it"
_POWER = "the bound is reached long before"

EQUIVALENT: dict[str, str] = {
    "web.access: Access: 32 -> 33": _LENGTH,
    "web.access: Access.new_session: 18 -> 19": _LENGTH,
    'web.access: Access.form_token: "form" -> "XXform"': _PURPOSE,
    "api_login: LoginPause.refused: 10 -> 11": _POWER,
    "retry: full_jitter: 60 -> 61": _POWER,
    "retry: Breaker._wait: 60 -> 61": _POWER,
    "retry: Breaker._wait: 60 -> 61 (no. 2)": _POWER,
    "upload.blame: Refusals._is_everyone: max -> min": "of a single value both are the same",
    "keys: clip_key_for: Kind.SNAPSHOT -> Kind.THUMBNAIL": "only the folder of the key is used, which is the same for all kinds",
    'keys: clip_key_for: "jpg" -> "XXjpg"': "only the folder of the key is used, and the ending is in its last part",
    "spool: Spool._make_room: > -> >= (no. 3)": "where nothing is lacking, nothing is removed, whatever the list holds",
    "unmoved: Movement.__init__: self._since = 0.0 -> pass": _FIRST_COUNT,
    "unmoved: Movement.__init__: 0.0 -> 1.0": _FIRST_COUNT,
    'storage.signature: _quoted: "-_.~" -> "XX-_.~"': "letters are never quoted",
    'events: module: "_Value" -> "XX_Value"': "the name of a type variable is for type checkers",
    "retry: Concurrency: 0.0 -> 1.0": "set in any case when it is made",
    "retry: Breaker: 0.0 -> 1.0 (no. 2)": "read while open only, and set when it opens",
    'web.access: Access.knows_host: "[]" -> "XX[]" (no. 2)': "an address in brackets holds no such letter",
    "ledger_schema: migrate: 0 -> 1": "the count is set in any case before it is returned",
}
