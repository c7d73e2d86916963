"""How Faust proves to the broker who it is, from the options that librdkafka is given."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

import faust
from faust.auth import Credentials

from streamer.errors import ConfigError

_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def broker_credentials(options: Mapping[str, str]) -> Credentials | None:
    """Faust's credentials for the options of librdkafka that say the same.

    Raises
    ------
    ConfigError
        For a protocol or a mechanism that Faust does not have.
    """
    protocol = options.get("security.protocol", "plaintext").upper()
    if protocol == "PLAINTEXT":
        return None
    context = None
    if protocol in ("SSL", "SASL_SSL"):
        context = ssl.create_default_context(cafile=options.get("ssl.ca.location"))
        if certificate := options.get("ssl.certificate.location"):
            key, password = options.get("ssl.key.location"), options.get("ssl.key.password")
            context.load_cert_chain(certificate, key, password)
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    mechanism = options.get("sasl.mechanism", options.get("sasl.mechanisms", "PLAIN"))
    if not protocol.startswith("SASL_") or mechanism not in _MECHANISMS:
        raise ConfigError(
            f"kafka.client: security.protocol = {protocol} with sasl.mechanism = {mechanism} is"
            f" not known to the windowed features: use SSL, or {', '.join(_MECHANISMS)}"
        )
    return faust.SASLCredentials(
        username=options.get("sasl.username"),
        password=options.get("sasl.password"),
        mechanism=mechanism,
        ssl_context=context,
    )
