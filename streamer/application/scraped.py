"""Metrics of processes of this machine, read as Prometheus reads them."""

from __future__ import annotations

import math
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_SCRAPE_TIMEOUT_S: Final = 1.0


def scraped(port: int) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """(name, labels, value) of each sample; none while nobody listens yet."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/metrics", timeout=_SCRAPE_TIMEOUT_S
        ) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def summed(samples: Iterable[tuple[str, Mapping[str, str], float]]) -> dict[str, float]:
    """Return samples by ``name{first label}``, or ``name`` without any; lags by their name alone.

    >>> rows = [("a_lag", {"topic": "t"}, 2.0), ("b", {"topic": "t", "partition": "0"}, 1.0)]
    >>> summed(rows)
    {'a_lag': 2.0, 'b{t}': 1.0}
    """
    found: dict[str, float] = {}
    for name, labels, value in samples:
        label = next(iter(labels.values()), "")
        key = f"{name}{{{label}}}" if label and not name.endswith("_lag") else name
        found[key] = found.get(key, 0.0) + value
    return found


def histogram_quantile(samples: Mapping[str, float], name: str, quantile: float) -> float:
    """A quantile of a histogram among samples, straight lines drawn within its buckets; 0 while it
    is empty, the last finite edge where it lies beyond.

    Examples
    --------
    >>> buckets = {"1.0": 10.0, "2.0": 30.0, "+Inf": 40.0}
    >>> samples = {f"wait_bucket{{{edge}}}": count for edge, count in buckets.items()}
    >>> [histogram_quantile(samples, "wait", q) for q in (0.25, 0.5, 0.9)]
    [1.0, 1.5, 2.0]
    """
    prefix = f"{name}_bucket{{"
    buckets = sorted(
        (float(key[len(prefix) : -1]), n) for key, n in samples.items() if key.startswith(prefix)
    )
    wanted = quantile * buckets[-1][1] if buckets else 0.0
    below, n_below = 0.0, 0.0
    for edge, n in buckets:
        if n >= wanted > 0:
            width = 0.0 if math.isinf(edge) else edge - below
            return below + width * (wanted - n_below) / (n - n_below)
        below, n_below = edge, n
    return 0.0
