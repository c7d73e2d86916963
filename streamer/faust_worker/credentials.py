"""How Faust proves to the broker who it is, from the options that librdkafka is given."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import faust
from faust.auth import Credentials

from streamer.errors import ConfigError

_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_UNKNOWN: Final = ("ssl.keystore.location", "ssl.engine.location", "ssl.providers")
"""Options without which librdkafka would not connect, and that have no like in Python's ssl."""


def broker_credentials(options: Mapping[str, str]) -> Credentials | None:
    """Faust's credentials for the options of librdkafka that say the same.

    Raises
    ------
    ConfigError
        For a protocol or a mechanism that Faust does not have, or a certificate that can't be read.
    """
    protocol = options.get("security.protocol", "plaintext").upper()
    if protocol == "PLAINTEXT":
        return None
    context = _ssl_context(options) if protocol in ("SSL", "SASL_SSL") else None
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


def _ssl_context(options: Mapping[str, str]) -> ssl.SSLContext:
    if unknown := [name for name in _UNKNOWN if name in options]:
        raise ConfigError(
            f"kafka.client: {unknown[0]} is not known to the windowed features: use ssl.*.location"
            " or ssl.*.pem"
        )
    authority = options.get("ssl.ca.location")
    try:
        context = ssl.create_default_context(
            cafile=None if authority is None or Path(authority).is_dir() else authority,
            capath=authority if authority is not None and Path(authority).is_dir() else None,
            cadata=options.get("ssl.ca.pem"),
        )
        _load_own(context, options)
    except (OSError, ValueError) as error:  # of ssl, too
        raise ConfigError(
            f"kafka.client: a certificate of ssl.* can't be used ({error}); see ssl.ca,"
            " ssl.certificate and ssl.key, each .location (a PEM file) or .pem (its text)"
        ) from error
    if options.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        context.check_hostname = False
    if options.get("enable.ssl.certificate.verification", "true").lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_own(context: ssl.SSLContext, options: Mapping[str, str]) -> None:
    """Load the certificate that this client shows; Python reads it from files alone."""
    password = options.get("ssl.key.password")
    with tempfile.TemporaryDirectory(prefix="streamer-") as folder:  # its owner's alone
        files: dict[str, str | None] = {}
        for name in ("certificate", "key"):
            files[name] = options.get(f"ssl.{name}.location")
            if text := options.get(f"ssl.{name}.pem"):
                path = Path(folder, name)
                path.write_text(text, encoding="utf-8")
                files[name] = str(path)
        if certificate := files["certificate"]:
            context.load_cert_chain(certificate, files["key"], password)
