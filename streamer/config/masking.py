"""Values as text, without the secrets among them."""

from __future__ import annotations

import json
import re
from typing import Final

from streamer.masking import MASK, names_a_secret, without_secrets

_SASL: Final = re.compile(r"(^|\.)sasl\.", re.IGNORECASE)
# A value may be a URL and nothing else: a secret of one that is malformed may hold blanks, and goes
# on to the next parameter, or from the first colon to the last @.
_PARAMETER: Final = re.compile(r"([?&;])([^?&;=]+)=([^&]+)")
_USER_INFO: Final = re.compile(r"(://[^:@/]*:|:(?!//)).*@", re.DOTALL)


def masked(key: str, value: object) -> str:
    """A value as TOML writes it, with ``***`` in place of secrets.

    >>> masked("store.url", "redis://ann:s3cret@cache:6379/0")
    '"redis://ann:***@cache:6379/0"'
    >>> masked("store.url", "rediss://cache?ssl_password=s3cret&db=1")
    '"rediss://cache?ssl_password=***&db=1"'
    >>> masked("kafka.client.sasl.password", "s3cret")
    '"***"'
    >>> masked("http.api_keys", ("a key of sixteen",)), masked("http.api_keys", ())
    ('"***"', '[]')
    >>> masked("registry.password", "")
    '""'
    """
    if (names_a_secret(key) or _SASL.search(key)) and value not in ((), [], ""):
        return f'"{MASK}"'
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(k)} = {masked(k, v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(masked(key, each) for each in value)}]"
    return toml_text(_hidden(value) if isinstance(value, str) else value)


def _hidden(text: str) -> str:
    text = _PARAMETER.sub(
        lambda found: found[0] if not names_a_secret(found[2]) else f"{found[1]}{found[2]}={MASK}",
        text,
    )
    return _USER_INFO.sub(rf"\1{MASK}@", without_secrets(text))


def toml_text(value: object) -> str:
    """A value as it stands in a TOML file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_text, value))}]"
    return str(value)
