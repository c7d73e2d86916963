"""Imported once, by the process that those of :mod:`tests.forked` fork from."""

from __future__ import annotations

import os
from importlib import import_module

from streamer.application.services.warm_up import warm_up
from streamer.config import load_config

for name in (
    "streamer.application.services.processes",
    "streamer.application.services.scoring",
    "streamer.application.services.serving",
    "streamer.cli",
    "streamer.http.app",
    "tests.contract.test_store_processes",
):
    import_module(name)
warm_up(load_config(os.devnull, env={}))
