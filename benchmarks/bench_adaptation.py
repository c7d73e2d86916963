"""After how many events does a slate follow a new taste?

``python -m benchmarks.bench_adaptation --json OUT`` plays in the world of ``bench_unanswered``,
once with a catalogue that says the categories of items and once without: twenty warm users, and
twenty that nobody knows, click items of one category that is new to them. What is counted are
the clicks until half of a slate of ten lies in it; one more than ``--events`` where it never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from benchmarks.bench_unanswered import N_CATEGORIES, N_ITEMS, SYNC_MS, K, World
from benchmarks.environment import environment, parser, write
from streamer.config import Config, load_config
from streamer.events import Item, Request

N_USERS: Final = 20
_JOINED_MS: Final = 20_000


def turned(config: Config, seed: int, n_events: int, *, described: bool) -> dict[str, list[int]]:
    """Return the clicks it took, of warm users and of new ones."""
    world = World(config, seed)
    if described:
        world.live.publish(
            *(
                Item(item_id=f"i{item}", categories=[f"kind {item % N_CATEGORIES}"])
                for item in range(N_ITEMS)
            )
        )
    world.browse()
    world.let_time_pass(_JOINED_MS)
    found: dict[str, list[int]] = {"warm": [], "new": []}
    for n, user in enumerate(world.users[:N_USERS]):
        others = [each for each in range(N_CATEGORIES) if each not in world.liked[user]]
        category = others[n % len(others)]
        found["warm"].append(_clicks_until_half(world, user, category, n_events))
        found["new"].append(_clicks_until_half(world, f"new{n}", category, n_events))
    return found


def _clicks_until_half(world: World, user: str, category: int, n_events: int) -> int:
    for n in range(1, n_events + 1):
        nth = int(N_ITEMS // N_CATEGORIES * world.rng.random() ** 1.5)
        world.live.publish(world.event("click", user, f"i{nth * N_CATEGORIES + category}"))
        world.let_time_pass(SYNC_MS)
        if 2 * _n_of(world, user, category) >= K:
            return n
    return n_events + 1


def _n_of(world: World, user: str, category: int) -> int:
    """Items of the category in a slate that is published nowhere."""
    scorer = world.live.scorer
    request = Request(request_id=f"probe {user}", user_id=user, ts=world.now_ms, k=K)
    slate = scorer.variants.of(request.user_id).recommend(
        request, scorer.replica.current(), scorer.catalogue
    )
    return sum(int(item[1:]) % N_CATEGORIES == category for item in slate.item_ids)


def summary(clicks: Sequence[int], n_events: int) -> dict[str, float]:
    """Median and mean of clicks, and the share of users it never happened to."""
    return {
        "median": float(np.median(clicks)),
        "mean": round(float(np.mean(clicks)), 2),
        "never": round(float(np.mean(np.array(clicks) > n_events)), 3),
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--events", type=int, default=12, help="clicks of a user at most")
    options.add_argument("--seeds", type=int, default=3)
    given = options.parse_args()
    flags = {"topics.partitions": 1, "store.url": "memory:", "bandit.policy": "greedy"}
    config = load_config(env={}, flags=flags)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for described in (True, False):
        clicks: dict[str, list[int]] = {"warm": [], "new": []}
        for seed in range(given.seed, given.seed + given.seeds):
            for who, found in turned(config, seed, given.events, described=described).items():
                clicks[who] += found
        name = "with a catalogue" if described else "without"
        results[name] = {who: summary(each, given.events) for who, each in clicks.items()}
        print(name, results[name], flush=True)
    write(
        {"benchmark": "adaptation", "seed": given.seed, "seeds": given.seeds,
         "events": given.events, "results": results,
         "environment": environment("numba", "numpy")},
        given.json,
    )  # fmt: skip


if __name__ == "__main__":
    main()
