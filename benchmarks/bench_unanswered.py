"""Does the ranking get worse where nobody answers what was recommended?

``python -m benchmarks.bench_unanswered --json OUT`` makes a world of users who each like two of
ten categories, lets them click by themselves, and then has some of them ask for slates, again and
again, by five kinds of client: one that reports nothing, one that reports clicks without the id of
the request, one with it, one that reports impressions too, and one whose clicks lack what its
impressions have. What is counted is the share of a slate that lies in the categories that its user
likes, before the first request and over the last third of them, of slates that are published
nowhere: for those who ask, and for the others.

Who clicks in slates has taken up afterwards what was known best of what they like, and the rest is
known less: their share falls whatever the ranking learns, by as much as ``--frozen`` says, which
lets nothing practise once slates are asked for. The others' shares show the ranking alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from benchmarks.environment import environment, parser, write
from streamer.config import Config, load_config
from streamer.events import Event, Request
from streamer.simulation.live import Answer, LiveSystem

START_MS: Final = 1_700_000_000_000
SYNC_MS: Final = 10_000
N_USERS: Final = 100
N_ASKING: Final = 20
"""Users who ask for slates; the others only browse before."""
N_ITEMS: Final = 1_000
N_CATEGORIES: Final = 10
N_CLICKS: Final = 25
"""Of a user before anybody asks."""
K: Final = 10
N_LOOKS: Final = 5
"""Over the last third of the requests."""

Report = Callable[["World", str, Answer, int], list[Event]]


class World:
    """Users, what they like, and the system that recommends to them."""

    def __init__(self, config: Config, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.live = LiveSystem(config, start_ms=START_MS, sync_interval_ms=SYNC_MS)
        self.users = [f"u{user}" for user in range(N_USERS)]
        self.liked = {user: set(self._two_categories()) for user in self.users}
        self.now_ms = START_MS
        self._n_events = 0

    def _two_categories(self) -> list[int]:
        found: list[int] = self.rng.choice(N_CATEGORIES, 2, replace=False).tolist()
        return found

    def likes(self, user: str, item: str) -> bool:
        """Whether an item lies in one of the categories that a user likes."""
        return int(item[1:]) % N_CATEGORIES in self.liked[user]

    def event(self, kind: str, user: str, item: str, request_id: str | None = None) -> Event:
        """Return a new event of now."""
        self._n_events += 1
        return Event(
            event_id=f"e{self._n_events}",
            type=kind,
            user_id=user,
            item_id=item,
            ts=self.now_ms,
            request_id=request_id,
        )

    def let_time_pass(self, n_ms: int) -> None:
        """Learn what was published, and have the scorer follow."""
        self.now_ms += n_ms
        self.live.advance(self.now_ms)

    def browse(self) -> None:
        """Every user clicks items by themselves, four in five of a category that they like."""
        for _ in range(N_CLICKS):
            for user in self.rng.permutation(self.users).tolist():
                category = self.rng.integers(N_CATEGORIES)
                if self.rng.random() < 0.8:
                    category = self.rng.choice(sorted(self.liked[user]))
                nth = int(N_ITEMS // N_CATEGORIES * self.rng.random() ** 1.5)
                self.live.publish(self.event("click", user, f"i{nth * N_CATEGORIES + category}"))
                self.let_time_pass(SYNC_MS // 20)

    def stop_practising(self) -> None:
        """From now on learn no weights of the blend from plain events."""
        practice = self.live._learner._practice
        assert practice is not None
        practice._share_max = 0.0

    def share_liked(self, users: Sequence[str]) -> float:
        """Share of the slates of users that lies in categories that they like."""
        version, catalogue = self.live.scorer.replica.current(), self.live.scorer.catalogue
        n_liked = n_shown = 0
        for user in users:
            request = Request(request_id=f"probe {user}", user_id=user, ts=self.now_ms, k=K)
            slate = self.live.scorer.variants.of(request.user_id).recommend(
                request, version, catalogue
            )
            n_liked += sum(self.likes(user, item) for item in slate.item_ids)
            n_shown += len(slate.item_ids)
        return n_liked / n_shown

    def ask(self, report: Report) -> None:
        """Each of those who ask does so once, and reports in the way of a client."""
        for user in self.rng.permutation(self.users[:N_ASKING]).tolist():
            answer = self.live.request(user, k=K)
            self.let_time_pass(SYNC_MS // 20)
            self.live.publish(*report(self, user, answer, self._n_events))
            self.let_time_pass(SYNC_MS // 4)


def _clicked(world: World, user: str, answer: Answer) -> list[str]:
    """At most one item of a slate: each that is liked has one chance in twenty."""
    liked = [item for item in answer.item_ids if world.likes(user, item)]
    taken = [item for item in liked if world.rng.random() < 0.05]
    return taken[:1]


def nothing(world: World, user: str, answer: Answer, n: int) -> list[Event]:
    """Report nothing."""
    return []


def clicks(world: World, user: str, answer: Answer, n: int) -> list[Event]:
    """Report clicks as if nothing had been recommended."""
    return [world.event("click", user, item) for item in _clicked(world, user, answer)]


def named_clicks(world: World, user: str, answer: Answer, n: int) -> list[Event]:
    """Report clicks with the id of the request."""
    request_id = answer.recommendation.request_id
    return [world.event("click", user, item, request_id) for item in _clicked(world, user, answer)]


def all_seen(world: World, user: str, answer: Answer, n: int) -> list[Event]:
    """Report what was seen too: all of the slate."""
    request_id = answer.recommendation.request_id
    seen = [world.event("impression", user, item, request_id) for item in answer.item_ids]
    return seen + named_clicks(world, user, answer, n)


def seen_by_name(world: World, user: str, answer: Answer, n: int) -> list[Event]:
    """Report what was seen with the id of the request, and clicks without."""
    seen = all_seen(world, user, answer, n)[: len(answer.item_ids)]
    return seen + clicks(world, user, answer, n)


CLIENTS: Final[dict[str, Report]] = {
    "reports nothing": nothing,
    "clicks": clicks,
    "clicks with request_id": named_clicks,
    "impressions and clicks with request_id": all_seen,
    "impressions with request_id and clicks without": seen_by_name,
}


def shares(
    config: Config, report: Report, n_requests: int, seed: int, *, frozen: bool
) -> dict[str, tuple[float, float]]:
    """Return shares of liked categories before, and over the last third of each user's requests, of
    those who ask and of the others."""
    world = World(config, seed)
    groups = {"asking": world.users[:N_ASKING], "others": world.users[N_ASKING:]}
    joined_ms = int(1000 * config.join.window_s) + 2 * SYNC_MS
    world.browse()
    world.let_time_pass(joined_ms)
    before = {name: world.share_liked(users) for name, users in groups.items()}
    if frozen:
        world.stop_practising()
    looks_at = set(np.linspace(2 * n_requests // 3, n_requests - 1, N_LOOKS).astype(int).tolist())
    after: dict[str, list[float]] = {name: [] for name in groups}
    for number in range(n_requests):
        world.ask(report)
        if number in looks_at:
            for name, users in groups.items():
                after[name].append(world.share_liked(users))
    return {name: (before[name], float(np.mean(after[name]))) for name in groups}


def summary(found: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Means over the seeds, and the change with its standard error."""
    before, after = np.array(found).T
    change = after - before
    return {
        "before": round(float(before.mean()), 3),
        "after": round(float(after.mean()), 3),
        "change": round(float(change.mean()), 3),
        "change_se": round(float(change.std(ddof=1) / np.sqrt(len(change))), 3),
        "least_change": round(float(change.min()), 3),
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--requests", type=int, default=60, help="of each user")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--clients", default=",".join(CLIENTS), help="by name, with commas")
    options.add_argument(
        "--set", action="append", default=[], help="KEY=VALUE of the configuration", metavar="KEY"
    )
    options.add_argument("--frozen", action="store_true", help="control: stop practising")
    given = options.parse_args()
    flags = dict(each.split("=", 1) for each in given.set)
    config = load_config(env={}, flags={"topics.partitions": 1, "store.url": "memory:"} | flags)
    results = {}
    for name in given.clients.split(","):
        found: dict[str, list[tuple[float, float]]] = {"asking": [], "others": []}
        for seed in range(given.seed, given.seed + given.seeds):
            of_seed = shares(config, CLIENTS[name], given.requests, seed, frozen=given.frozen)
            for who, (before, after) in of_seed.items():
                found[who].append((before, after))
                print(f"{name}, seed {seed}, {who}: {before:.3f} before, {after:.3f} after")
        results[name] = {who: summary(each) for who, each in found.items()}
    write(
        {"benchmark": "unanswered", "seed": given.seed, "seeds": given.seeds,
         "requests": given.requests, "set": flags, "frozen": given.frozen, "results": results,
         "environment": environment("numba", "numpy")},
        given.json,
    )  # fmt: skip


if __name__ == "__main__":
    main()
