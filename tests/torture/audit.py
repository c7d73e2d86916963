"""What was sent, against topics, letters, answers, store and features: each message counted."""

from __future__ import annotations

import contextlib
import functools
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from deploy.kafka.node import free_port
from streamer.config.settings import TopicRole
from streamer.events import (
    decode_dead_letter,
    decode_decision,
    decode_recommendation,
    decode_request,
)
from streamer.verify.parameters import Contents
from streamer_models.state.table import Keys
from tests.learner_processes import Deployment, executed, wait_until
from tests.torture.ledger import Ledger, Mark, mark
from tests.torture.topics import Found, Place, messages_of
from tests.torture.windows import Windows, published_features

SENT: Final[tuple[TopicRole, ...]] = (
    "events",
    "requests",
    "items",
    "users",
    "decisions",
    "features",
)
"""Topics that traffic sends to; to the last two, the processes do too."""
STALE: Final = "request: published "
"""Beginning of a letter for a request whose asker waits no more."""
COUNTED: Final = (
    *("user_history", "user_history_times", "user_impressions"),
    *("item_counts", "item_consumptions", "item_popularity", "popularity_count"),
    *("popularity_totals", "decayed_item", "decayed_user", "last_item"),
    *("arm_outcomes", "arm_rates"),
)
"""Tables that hold counts and last events: what they hold follows from the topics alone, whoever
saw what when. An event that was learned twice, or not at all, shows in them."""


_SHOWN_S: Final = 60.0
"""A learner shows its counts within, having committed."""


@dataclass(frozen=True, slots=True)
class Check:
    """Two numbers, or texts, that must be the same."""

    what: str
    wanted: object
    found: object

    @property
    def holds(self) -> bool:
        return self.wanted == self.found

    def __str__(self) -> str:
        return f"{self.what}: {self.found}, not {self.wanted}"


class Audit:
    """Compares what a run left with its ledger.

    Parameters
    ----------
    settings
        Of the deployment, for a learner that learns the same topics undisturbed.
    patience_s
        How long one step may take.
    """

    def __init__(
        self,
        deployment: Deployment,
        ledger: Ledger,
        folder: Path,
        settings: dict[str, object],
        *,
        patience_s: float,
    ) -> None:
        self._deployment = deployment
        self._config = deployment.config
        self._ledger = ledger
        self._folder = folder
        self._settings = settings
        self._patience_s = patience_s

    # --- while it runs out -----------------------------------------------------------------------

    def left(self) -> Iterator[str]:
        """Yield what is left to do until nothing is."""
        while not self._deployment.caught_up():
            behind = sum(self._deployment.ends().values()) - sum(
                self._deployment.offsets().values()
            )
            yield f"{behind} events and decisions to learn"
        while n := len(self._asked() - self._answered() - self._letters_of("requests").keys()):
            yield f"{n} requests to answer"
        bad_items = {each.place for each in self._of_fate("items", "bad")}
        while n := len(bad_items - self._letters_of("items").keys()):
            yield f"{n} dead letters of items to send"
        while not self._deployment.caught_up():
            yield "the last decisions to learn"
        while n := len(self._windows.compared().missing):
            yield f"{n} values of features to publish"

    # --- after it --------------------------------------------------------------------------------

    def checks(self, say: Callable[[str], None]) -> list[Check]:
        """Compare everything."""
        found: list[Check] = []
        for what, compare in (
            ("topics", self._topics),
            ("dead letters", self._letters),
            ("requests", self._requests),
            ("features", self._features),
            ("logs", self._logs),
            ("the store, executed again", self._store),
            ("an undisturbed learner", self._undisturbed),
        ):
            say(f"compares {what}")
            try:
                found += compare()
            except Exception as error:  # noqa: BLE001 - a run of hours has more to say than this
                found.append(Check(f"errors while comparing {what}", "", repr(error)[-2_000:]))
        return found

    def _topics(self) -> Iterator[Check]:
        """The broker has each message that was sent as often as it was sent."""
        for role in SENT:
            there = Counter(mark(role, each.value) for each in messages_of(self._config, role))
            wanted = Counter(
                {marked: n for marked, n in self._ledger.copies.items() if marked[0] == role}
            )
            if role in ("decisions", "features"):
                there = Counter({marked: n for marked, n in there.items() if marked in wanted})
            yield Check(f"messages on {role}", wanted.total(), there.total())
            yield Check(f"{role} that are other than sent", {}, _difference(wanted, there))

    def _letters(self) -> Iterator[Check]:
        for role in ("events", "decisions", "items", "users"):
            bad = {each.place for each in self._of_fate(role, "bad")}
            yield Check(f"bad {role} without a letter", 0, len(bad - self._letters_of(role).keys()))
            wrong = [reason for place, reason in self._letters_of(role).items() if place not in bad]
            yield Check(f"letters for good {role}", [], wrong[:3])
        bad = {each.place for each in self._of_fate("requests", "bad")}
        letters = self._letters_of("requests")
        yield Check("bad requests without a letter", 0, len(bad - letters.keys()))
        wrong = [
            reason
            for place, reason in letters.items()
            if place not in bad and not reason.startswith(STALE)
        ]
        yield Check("letters for good requests whose asker waits", [], wrong[:3])

    def _requests(self) -> Iterator[Check]:
        asked, answered = self._asked(), self._answered()
        lettered = self._letters_of("requests").keys()
        yield Check("requests without answer and letter", 0, len(asked - answered - lettered))
        yield Check(
            "requests = answered + letters alone",
            len(asked),
            len(asked & answered) + len((asked & lettered) - answered),
        )
        answers: set[str] = set()
        previews: set[str] = set()
        for each in messages_of(self._config, "recommendations"):
            answer = decode_recommendation(each.value)
            (previews if answer.preview else answers).add(answer.request_id)
        decided = {
            decode_decision(each.value).request_id
            for each in messages_of(self._config, "decisions")
            if self._ledger.kind("decisions", each.value) is None
        }
        # After a scorer that is killed between the two messages of an answer another one answers
        # again, or says in a letter that nobody waits any more.
        refused = {
            decode_request(each.value).request_id
            for each in self._of_fate("requests", "good")
            if each.place in lettered
        }
        yield Check("answers without a decision or letter", 0, len(answers - decided - refused))
        yield Check("decisions without an answer or letter", 0, len(decided - answers - refused))
        yield Check("decisions of previews", 0, len(decided & previews))

    def _features(self) -> Iterator[Check]:
        compared = self._windows.compared()
        yield Check("values of features that are missing", 0, len(compared.missing))
        yield Check("values of features that are wrong", [], compared.wrong[:3])
        _, n_rejected = published_features(self._config)
        yield Check("bad features passed over", self._ledger.n("features", "bad"), n_rejected)

    def _logs(self) -> Iterator[Check]:
        lost = Counter(
            log.name
            for log in sorted((self._folder / "logs").glob("*.log"))
            if "messages_lost" in log.read_text(errors="replace")
        )
        yield Check("processes that lost messages", {}, dict(lost))

    def _store(self) -> Iterator[Check]:
        deployment = self._deployment
        n = sum(deployment.ends().values())
        yield Check("messages that the store has taken", n, sum(deployment.offsets().values()))
        said = deployment.verify("--decisions", timeout_s=self._patience_s).split("\n")
        says = " ".join(" ".join(said).split())
        n_executed = n + self._ledger.n("users")
        alike = f"{deployment.n_commits:,} commits, {n_executed:,} messages executed again"
        yield Check("store verify --decisions", alike, says[: len(alike)])
        yield Check("slates made otherwise", True, " made again alike, 0 otherwise;" in says)
        yield Check("its verdict", True, "the store is what its schedule says, bit for bit" in says)

    def _undisturbed(self) -> Iterator[Check]:
        """A learner that nothing happens to counts the same, and ends with the same counts."""
        port = free_port()
        settings = self._settings | {
            "store.url": f"sqlite:{self._folder / 'undisturbed.db'}",
            "metrics.port": port,
        }
        counts: dict[str, float] = {}
        with Deployment(self._folder / "undisturbed", settings, start=executed) as other:

            def counted() -> bool:
                counts.update(_learner_counts(port))
                return all(check.holds for check in self._counts(counts))

            def read() -> None:
                # A round is shown after it is committed.
                with contextlib.suppress(AssertionError):  # what is still off is said below
                    wait_until(counted, "metrics show all", timeout_s=_SHOWN_S)

            other.learn_all(timeout_s=self._patience_s, at_end=read)
            yield from self._counts(counts)
            differ = _rows_that_differ(self._deployment.contents(), other.contents())
            for table, n in differ.items():
                yield Check(f"rows of {table} other than of an undisturbed learner", 0, n)

    def _counts(self, counts: dict[str, float]) -> Iterator[Check]:
        """Events in = learned + duplicates + letters + those that teach nothing, exactly."""
        ledger = self._ledger
        bad = sum(ledger.n(topic, "bad") for topic in ("events", "decisions", "users"))
        yield Check("events in", ledger.n("events"), counts["events"])
        yield Check("events that repeat", ledger.n("events", "repeat"), counts["duplicates"])
        yield Check("letters for events, decisions and users", bad, counts["dead_letters"])
        learned = counts["learned"] + counts["unrewarded"] + counts["unadmitted"]
        yield Check("events that were learned", ledger.n("events", "good"), learned)
        yield Check("events lost", 0, counts["lost"])
        n_decisions = sum(1 for _ in messages_of(self._config, "decisions"))
        decisions = sum(n for name, n in counts.items() if name.startswith("decisions "))
        yield Check(
            "decisions that were read", n_decisions - ledger.n("decisions", "bad"), decisions
        )

    # --- what is there ---------------------------------------------------------------------------

    def _of_fate(self, role: TopicRole, fate: str) -> Iterator[Found]:
        """Messages of a topic that were sent with a fate."""
        for each in messages_of(self._config, role):
            kind = self._ledger.kind(role, each.value)
            if kind is not None and kind.fate == fate:
                yield each

    @functools.cached_property
    def _windows(self) -> Windows:
        return Windows(self._config)

    def _asked(self) -> set[Place]:
        return {each.place for each in self._of_fate("requests", "good")}

    def _answered(self) -> set[Place]:
        """Places of the requests that have an answer."""
        answered = {
            decode_recommendation(each.value).request_id
            for each in messages_of(self._config, "recommendations")
        }
        return {
            each.place
            for each in self._of_fate("requests", "good")
            if decode_request(each.value).request_id in answered
        }

    def _letters_of(self, role: TopicRole) -> dict[Place, str]:
        """Places of a topic's messages that have a letter, and its reason."""
        topic = self._config.topics.topic(role)
        letters = (
            decode_dead_letter(each.value)
            for each in messages_of(self._config, "dead_letters")
            if f"{topic}:".encode() in (each.key or b"")
        )
        return {(each.topic, each.partition, each.offset): each.reason for each in letters}


def _difference(wanted: Counter[Mark], found: Counter[Mark]) -> dict[str, int]:
    """How often messages are missing (negative) or too many, the first few."""
    surplus = {**(found - wanted), **{each: -n for each, n in (wanted - found).items()}}
    return {str(each)[:120]: n for each, n in list(surplus.items())[:5]}


def _learner_counts(port: int) -> dict[str, float]:
    """Counters of a learner by name, and by label where they have one; summed over others."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    counts: defaultdict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith("_total"):
                name = sample.name.removeprefix("streamer_learner_").removesuffix("_total")
                counts[" ".join([name, *sample.labels.values()])] += sample.value
    return counts


def _rows_that_differ(left: list[Contents], right: list[Contents]) -> Counter[str]:
    """Rows of the counted tables that are not the same, bit for bit, over all partitions."""
    differ = Counter(dict.fromkeys(COUNTED, 0))
    for one, other in zip(left, right, strict=True):
        for table in COUNTED:
            rows, other_rows = _bits(*one.tables[table]), _bits(*other.tables[table])
            keys = rows.keys() | other_rows.keys()
            differ[table] += sum(rows.get(key) != other_rows.get(key) for key in keys)
    return differ


def _bits(keys: Keys, values: NDArray[Any]) -> dict[int, bytes]:
    return {key: row.tobytes() for key, row in zip(keys.tolist(), values, strict=True)}
