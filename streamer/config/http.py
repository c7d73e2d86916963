"""The section of the HTTP service."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from streamer.config.section import Section
from streamer.events.messages import TIMEOUT_MS_MAX, TypeName


class HttpConfig(Section, frozen=True, kw_only=True):
    """The HTTP service, `streamer serve`."""

    host: Annotated[
        str,
        Meta(
            min_length=1, description="address to listen on; `0.0.0.0`: for every other machine too"
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(
            ge=1,
            le=65_535,
            description="to listen on; `streamer up` serves HTTP where it is given",
        ),
    ] = 8_080
    page: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="whether `/ui` is a page to look at; auto: where the packages of"
            " the extra `ui` are installed"
        ),
    ] = "auto"
    reports: Annotated[
        str,
        Meta(
            description="folder whose reports (`--report` of `streamer replay` and `streamer ope`)"
            " the page lists and opens; empty: none"
        ),
    ] = ""
    api_keys: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[\x21-\x7e]{16,256}$")], ...],
        Meta(
            max_length=256,
            description="who sends one (`Authorization: Bearer …` or `X-API-Key: …`) may ask;"
            " each of 16 to 256 visible characters; []: whoever reaches the port",
        ),
    ] = ()
    requests_per_s: Annotated[
        float,
        Meta(
            ge=0,
            le=1_000_000,
            description="requests a second of one API key, or of one address where there are no"
            " keys; 0: any number",
        ),
    ] = 0.0
    burst: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="requests that one may have at once, after a rest"),
    ] = 100
    cors_origins: Annotated[
        tuple[
            Annotated[
                str,
                Meta(pattern=r"^(\*|https?://[^/\s]+)$", examples=["https://shop.example", "*"]),
            ],
            ...,
        ],
        Meta(max_length=256, description="origins whose pages may ask from a browser; `*`: all"),
    ] = ()
    timeout_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=TIMEOUT_MS_MAX,
            description="how long a caller waits at most, where its request does not say: for a"
            " recommendation, and for the broker to acknowledge events and items",
        ),
    ] = 5_000
    waiting_max: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="requests that wait to be scored at most; more are refused with status 503",
        ),
    ] = 256
    body_bytes_max: Annotated[
        int, Meta(ge=1_024, le=1_000_000_000, description="size of a request's body at most")
    ] = 1_000_000
    body_timeout_s: Annotated[
        float,
        Meta(
            ge=0.1,
            le=3_600,
            description="how long a request's body may take to come, from its head on",
        ),
    ] = 60.0
    events_max: Annotated[
        int, Meta(ge=1, le=100_000, description="events, or items, in one request at most")
    ] = 1_000
    user_feature: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=256,
            description="context feature of a rank call in Azure Personalizer's form that is the"
            " user's id, with dots where it is nested; without it each call is a stranger's",
        ),
    ] = "user_id"
    reward_type: Annotated[
        TypeName,
        Meta(
            description="type of event that a reward in Azure Personalizer's form becomes; its"
            " value is the reward"
        ),
    ] = "watch"
