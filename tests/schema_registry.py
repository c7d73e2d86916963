"""A schema registry of a few lines, over HTTP on the loopback, for the real client to ask."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import fastavro

NOT_FOUND = 404, {"error_code": 40403, "message": "Schema not found"}


def in_avro(schema_id: int, schema: Any, value: object) -> bytes:
    """A value as Confluent's serializer of Avro writes it."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), value)
    return b"\x00" + schema_id.to_bytes(4, "big") + body.getvalue()


class LocalRegistry:
    """What it has, and what it was asked.

    Attributes
    ----------
    schemas
        Id → what is answered to /schemas/ids/ID.
    versions
        (subject, version) → what is answered to /subjects/SUBJECT/versions/VERSION.
    no_format
        Ids that it does not give in any format but their own, as some registries do.
    user_info
        ``user:password`` that every question must have; empty: none.
    n_away
        Questions that are answered with 503 before the others; counted down.
    asked
        Paths, with the format that was asked for.
    """

    def __init__(self) -> None:
        self.schemas: dict[int, Mapping[str, Any]] = {}
        self.versions: dict[tuple[str, int], Mapping[str, Any]] = {}
        self.no_format: set[int] = set()
        self.user_info = ""
        self.n_away: float = 0
        self.asked: list[str] = []
        self.url = ""

    def answer(self, path: str, authorization: str) -> tuple[int, object]:
        parts = urlsplit(path)
        formats = parse_qs(parts.query).get("format", [])
        self.asked.append(" ".join([parts.path, *formats]))
        expected = base64.b64encode(self.user_info.encode()).decode()
        if self.user_info and authorization != f"Basic {expected}":
            return 401, {"error_code": 401, "message": "Unauthorized"}
        if self.n_away > 0:
            self.n_away -= 1
            return 503, {"error_code": 503, "message": "starting"}
        match parts.path.split("/")[1:]:
            case ["schemas", "types"]:
                return 200, ["AVRO", "JSON", "PROTOBUF"]
            case ["schemas", "ids", text] if formats and int(text) in self.no_format:
                return 501, {"error_code": 501, "message": "unsupported format"}
            case ["schemas", "ids", text] if int(text) in self.schemas:
                return 200, self.schemas[int(text)]
            case ["subjects", subject, "versions", text]:
                found = self.versions.get((subject, int(text)))
                return NOT_FOUND if found is None else (200, found)
        return NOT_FOUND


@contextlib.contextmanager
def local_registry(port: int = 0) -> Iterator[LocalRegistry]:
    """Serve a registry while entered."""
    registry = LocalRegistry()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, found = registry.answer(self.path, self.headers.get("Authorization", ""))
            body = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False  # a client keeps its connection

    with Server(("127.0.0.1", port), Handler) as server:
        registry.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
