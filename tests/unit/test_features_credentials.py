"""Faust is given what librdkafka is given."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from streamer.errors import ConfigError

pytest.importorskip("faust")

from streamer.faust_worker.credentials import broker_credentials


def context_of(**options: str) -> ssl.SSLContext:
    given = {name.replace("_", "."): value for name, value in options.items()}
    found = broker_credentials({"security.protocol": "ssl", **given})
    context: ssl.SSLContext | None = getattr(found, "context", None)
    assert context is not None
    return context


def test_without_a_protocol_there_are_none() -> None:
    assert broker_credentials({}) is None


@pytest.mark.parametrize("form", ["location", "pem"])
def test_certificates_are_read_from_files_and_from_text(form: str, pem: tuple[Path, Path]) -> None:
    certificate, key = (str(path) if form == "location" else path.read_text() for path in pem)
    context = context_of(
        **{
            f"ssl_ca_{form}": certificate,
            f"ssl_certificate_{form}": certificate,
            f"ssl_key_{form}": key,
        }
    )
    (authority,) = context.get_ca_certs()
    assert authority["subject"] == ((("commonName", "localhost"),),)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_verification_can_be_switched_off_as_for_the_other_clients() -> None:
    context = context_of(enable_ssl_certificate_verification="false")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    context = context_of(ssl_endpoint_identification_algorithm="none")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)


@pytest.mark.parametrize(
    "options",
    [
        {"ssl_ca_location": "/no/where"},
        {"ssl_ca_pem": "no certificate"},
        {"ssl_certificate_pem": "no certificate", "ssl_key_pem": "no key"},
        {"ssl_keystore_location": "/a.p12"},
    ],
)
def test_what_cannot_be_used_is_an_error_of_the_configuration(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"kafka\.client: .*ssl"):
        context_of(**options)
