"""Values as text, without the secrets among them."""

from __future__ import annotations

import json
import re

_SECRET_KEY = re.compile(r"password|secret|token|(^|\.)sasl\.|(^|\.)api_keys$", re.IGNORECASE)
# From the colon after the user to the last @: a password may hold @, :, / and blanks. A URL that is
# malformed is masked from its first colon.
_SECRET_IN_URL = re.compile(r"(://[^:@/]*:|:(?!//)).*@|([?&](?:password|token)=)[^&\s\"]+")


def masked(key: str, value: object) -> str:
    """A value as TOML writes it, with ``***`` in place of secrets.

    >>> masked("store.url", "redis://ann:s3cret@cache:6379/0")
    '"redis://ann:***@cache:6379/0"'
    >>> masked("kafka.client.sasl.password", "s3cret")
    '"***"'
    >>> masked("http.api_keys", ("a key of sixteen",)), masked("http.api_keys", ())
    ('"***"', '[]')
    >>> masked("registry.password", "")
    '""'
    """
    if _SECRET_KEY.search(key) and value not in ((), [], ""):
        return '"***"'
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(k)} = {masked(k, v)}' for k, v in value.items())}}}"

    def hide(match: re.Match[str]) -> str:
        return f"{match[1]}***@" if match[1] else f"{match[2]}***"

    return _SECRET_IN_URL.sub(hide, toml_text(value))


def toml_text(value: object) -> str:
    """A value as it stands in a TOML file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_text, value))}]"
    return str(value)
