"""Secrets in text, by what they look like: for the texts of clients, logs and what is printed."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"
_NAME: Final = re.compile(
    r"passw|passphrase|pwd|secret|token|credential|signature|jaas|private.?key"
    r"|(api|access|account|shared).?keys?$|(^|[._-])(auth|key|key[._]pem|pass|pw|sig)$",
    re.IGNORECASE,
)
# As OpenSSL, OpenSSH and PGP write it; one that is cut off goes on to the end of the text.
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:-----END [A-Z ]*PRIVATE KEY[A-Z ]*-----|\Z)", re.DOTALL
)
_PARAMETER: Final = re.compile(r"([?&;])([^\s?&;=\"'<>]+)=([^\s&\"'<>]+)")
# From the colon after the user to the last @ of the word: a password may hold @, : and /. In HTTP
# digits and a slash are a port and its path. One slash: a URL that was taken for a path has no two.
_USER_INFO: Final = re.compile(
    r"(?<![\w+.-])((?!https?:)[\w+.-]+:/+[^\s:@/]*:|https?:/+[^\s:@/]*:(?!\d{1,5}/))\S*@",
    re.IGNORECASE,
)
# The same without a scheme, as addresses of brokers have none, in lists with commas. After the @ is
# a name or an address: a number there is an offset. It begins where a word does, so that a long one
# is looked through once. `kafka:TOPIC@START` is a log to replay. An address of mail may be an id:
# it is one behind what names an id, a number of MovieLens's rows, a time or a line of a file, where
# no port follows. `user:` and names of features are no such words: they may be who has a password.
_MAIL: Final = r"[\w.+-]+@(?:[\w-]+\.)+[^\W\d_]{2,}(?![\w.-]|:\d|/)"
_OF_AN_ID: Final = (
    r"(?:(?:user|item|entity|request|event)_id:|item:|fixed:|mailto:|\d+::"
    r"|\d{4}-\d\d-\d\dT[\d:.]+[Z,;]+|[^\s:]+\.\w+:\d+:)"
)
_USER_OF_HOST: Final = re.compile(
    r"(?<![^\s'\"(,])(?!sqlite:|kafka:[^\s@]+@(?:earliest|\d{4}-))"
    rf"(?!{_OF_AN_ID}{_MAIL})"
    r"([^\s:@'\"(,]+:)(?!/)(?:[^\s'\",]+|[^\s:@/]+)"
    r"@(?=\[|\d+\.\d|[\w.-]*[^\W\d])"
)


def names_a_secret(name: str) -> bool:
    """Whether an option, a field or a parameter of this name holds a secret.

    >>> [each for each in ("ssl_password", "ssl.key.pem", "api-key", "sig") if names_a_secret(each)]
    ['ssl_password', 'ssl.key.pem', 'api-key', 'sig']
    >>> [each for each in ("db", "ssl_keyfile", "key_prefix", "signal") if names_a_secret(each)]
    []
    """
    return _NAME.search(name) is not None


def without_secrets(text: str) -> str:
    """A text with ``***`` for private keys, and for passwords and secret parameters of its URLs.

    >>> without_secrets("GET http://ann:s3cret@h/x?page=2&access_token=abc failed")
    'GET http://ann:***@h/x?page=2&access_token=*** failed'
    >>> kind = "PRIVATE KEY"
    >>> without_secrets(f"-----BEGIN {kind}-----MIIE-----END {kind}----- is none")
    '*** is none'
    >>> without_secrets("broker ann:s3cret@kafka-1:9092 is down")
    'broker ann:***@kafka-1:9092 is down'
    >>> without_secrets("ann:s3cret@[::1], ann:s3cret@10.0.0.1 and http://h:80/users/ann@shop")
    'ann:***@[::1], ann:***@10.0.0.1 and http://h:80/users/ann@shop'
    """
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub(MASK, text)
    if "=" in text:
        text = _PARAMETER.sub(_parameter, text)
    if "@" in text:
        text = _USER_OF_HOST.sub(rf"\1{MASK}@", _USER_INFO.sub(rf"\1{MASK}@", text))
    return text


def _parameter(found: re.Match[str]) -> str:
    before, name, value = found.groups()
    return f"{before}{name}={MASK if names_a_secret(name) else value}"
