"""Prequential evaluation: every event is predicted first, then learned, by all models alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from time import perf_counter, process_time
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.described import DescribedFields
from streamer.config import Config
from streamer.config.specs import Spec
from streamer.errors import ConfigError
from streamer.events import Event, Item, User
from streamer.learner.rewards import Rewards
from streamer.ranking.reads import Read, fields_read, unread_of_items, unread_of_users
from streamer.replay.asked_turns import ALL_TURNS, AskedTurns
from streamer.replay.catalogue import category_rows, vector_rows
from streamer.replay.interactions import UNKNOWN, Interaction, ProfileModel
from streamer.replay.knobs_delivery import Delivered
from streamer.replay.log import EventLog, LogSurvey, Progress, in_order, survey
from streamer.replay.models import CHANNEL, FUNNEL, build_model, funnels_configured
from streamer.replay.positives import parse_positives
from streamer.replay.rating_task import RatingTask
from streamer.replay.settings import Settings
from streamer.replay.tally import BLOCK_EVENTS, Scored, Tally
from streamer.replay.topk_task import TopKTask
from streamer_models.state.seeding import stream
from streamer_producers.clipped_values import ClippedValues
from streamer_producers.common_ids import CommonIds

GROUPS = ("cold users", "warm users", "cold items", "warm items")
_SCORED: Final = np.uint64(0x73636F726564)
"""Sets these random draws apart from others with the same seed."""


@dataclass(slots=True)
class Window:
    """A span of the log: the times of the first and the last event scored in it."""

    from_ts: int
    to_ts: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an experiment found.

    Attributes
    ----------
    names
        Of the models.
    task
        With what it remembers beside the tally.
    user_ids
        By row of ``tally.by_user``.
    model_s
        Seconds of CPU each model took, in all threads, for predictions and learning.
    n_first_seen, n_repeated
        Targets whose item no model had met (scored, and missed), and those passed over because the
        user had consumed the item before.
    elapsed_s
        Of the replay, without the survey.
    """

    settings: Settings
    log: LogSurvey
    names: tuple[str, ...]
    task: TopKTask | RatingTask
    tally: Tally
    windows: Sequence[Window]
    user_ids: Sequence[str]
    n_learned: int
    n_first_seen: int
    n_repeated: int
    model_s: tuple[float, ...]
    elapsed_s: float


class Experiment:
    """Replays a log through models.

    Parameters
    ----------
    log
        In the order of time.
    specs
        The models.
    settings
        What is scored, and how.
    config
        Says what events are worth where ``settings`` don't.

    Raises
    ------
    ConfigError
        For settings or models that can't be.
    """

    def __init__(
        self, log: EventLog, specs: Sequence[Spec], settings: Settings, *, config: Config
    ) -> None:
        settings.check()
        self._log = log
        self._settings = settings
        self._events = config.events
        self._rewards = Rewards(config.events)
        self._names = tuple(spec.text for spec in specs)
        self._models: list[Any] = [
            build_model(
                spec,
                task=settings.task,
                seed=settings.seed,
                config=config,
                knobs=settings.knobs,
                keys=settings.keys,
                k=settings.k,
                served=settings.served,
            )
            for spec in specs
        ]
        self._has_funnel = any(spec.name == FUNNEL for spec in specs)
        self._reads = fields_read(funnels_configured(specs, settings.keys, config))
        unused = settings.knobs.of_funnel
        if unused and not self._has_funnel:
            raise ConfigError(f"--{unused[0]} is of --model funnel; add it, or leave this out")
        if settings.keys and not any(spec.name in (FUNNEL, CHANNEL) for spec in specs):
            keys = ", ".join(settings.keys)
            raise ConfigError(f"{keys} is of --model {FUNNEL} and {CHANNEL}:NAME; add one of them")
        self._worth = lru_cache(maxsize=65_536)(self._reward)
        self._is_target = self._condition()

    def _condition(self) -> Callable[[Event], bool]:
        """What is scored."""
        settings = self._settings
        wanted = None
        if settings.positives:
            wanted = parse_positives(settings.positives, self._rewards.event_types)
        if settings.task == "rating":
            return lambda event: event.value is not None and (wanted is None or wanted(event))
        return wanted or (lambda event: self._worth(event.type, event.value) > 0)

    def _reward(self, event_type: str, value: float | None) -> float:
        code = self._rewards.event_types.codes[event_type]
        values = np.array([math.nan if value is None else value])
        return float(self._rewards(np.array([code], dtype=np.int8), values)[0])

    def run(self) -> Outcome:
        """Read the log twice: to :meth:`survey` it, then to :meth:`replay` it; errors as there."""
        return self.replay(self.survey())

    def survey(self, progress: Progress | None = None) -> LogSurvey:
        """Read the log to its end, and learn nothing.

        Parameters
        ----------
        progress
            Told how many events were read so far.

        Raises
        ------
        ConfigError
            When the log can't be read or has nothing to score.
        BadMessage
            At the first malformed line, where the log is strict.
        """
        rewards_matter = self._settings.feedback == "all" or (
            self._settings.task == "topk" and not self._settings.positives
        )
        values = ClippedValues(self._events) if rewards_matter else None
        # Items and users first, so that the survey counts their malformed lines too.
        items, profiles = self._catalogue, self._profiles
        ids = _ids(items.values(), profiles)
        described = DescribedFields()
        for item in items.values():
            described.put(None, item)
        n_gone = sum(not item.available for item in items.values()) if self._has_funnel else 0
        return survey(
            self._log,
            self._is_target,
            progress=progress,
            values=values,
            ids=ids,
            n_unavailable=n_gone,
            unread=(
                *unread_of_items(self._reads, described),
                *unread_of_users(self._reads, chain.from_iterable(profiles.values())),
                *_unread_of_requests(self._reads),
            ),
        )

    def replay(
        self,
        found: LogSurvey,
        progress: Progress | None = None,
        *,
        turns: AskedTurns = ALL_TURNS,
        take: Callable[[int, Scored], None] | None = None,
    ) -> Outcome:
        """Have each event predicted, then learned.

        Parameters
        ----------
        found
            By :meth:`survey`, of this log.
        progress
            Told how many events were read so far.
        turns
            Which events models are asked about; all are learned.
        take
            Takes what was scored at each of these turns, whose number comes first; None: the
            tally of the outcome does.

        Raises
        ------
        ConfigError
            When the log has changed since the survey.
        LearningError
            When a model predicts NaN.
        """
        return _Run(
            self._settings,
            found,
            self._names,
            self._models,
            self._task(found, self._catalogue.values()),
            self._is_target,
            self._worth,
            self._catalogue,
            self._profiles,
            turns,
            take,
        ).replay(self._log, progress)

    @cached_property
    def _catalogue(self) -> dict[str, Item]:
        return {item.item_id: item for item in self._log.items()}

    @cached_property
    def _profiles(self) -> dict[str, list[User]]:
        return profiles_by_user(self._log.users())

    def _task(self, found: LogSurvey, items: Collection[Item]) -> TopKTask | RatingTask:
        if self._settings.task == "topk":
            categories, vectors = category_rows(items), vector_rows(items)
            return TopKTask(
                self._names,
                self._models,
                self._settings,
                categories if len(categories) else None,
                vectors if len(vectors) else None,
                self._worth,
            )
        scale = self._settings.scale
        if scale is None:
            assert found.value_min is not None
            assert found.value_max is not None
            scale = found.value_min, found.value_max
        return RatingTask(self._names, self._models, scale)


class _Run:
    """One pass: what is known so far of users, items and windows."""

    def __init__(
        self,
        settings: Settings,
        found: LogSurvey,
        names: tuple[str, ...],
        models: Sequence[Any],
        task: TopKTask | RatingTask,
        is_target: Callable[[Event], bool],
        worth: Callable[[str, float | None], float],
        catalogue: Mapping[str, Item],
        profiles: dict[str, list[User]],
        turns: AskedTurns,
        take: Callable[[int, Scored], None] | None,
    ) -> None:
        self._settings = settings
        self._survey = found
        self._names = names
        self._models = models
        self._task = task
        self._is_target = is_target
        self._worth = worth
        self._catalogue = catalogue
        self._profiles = profiles
        self._profile_models = [model for model in models if isinstance(model, ProfileModel)]
        self._users: dict[str, int] = {}
        self._items: dict[str, int] = {}
        self._n_of_user: list[int] = []
        self._n_of_item: list[int] = []
        self._scored_users: dict[str, int] = {}
        self._windows: list[Window] = []
        self._pending: list[tuple[int, int, int, int]] = []
        self._tally = Tally(len(models), task.metrics, GROUPS)
        self._turns = turns
        self._take = take or (lambda turn, scored: self._tally.add(scored))
        self._n_targets = self._n_learned = self._n_first_seen = self._n_repeated = 0
        self._n_scored = 0
        self._n_warmup = int(settings.warmup * found.n_targets)
        self._learn_s = [0.0] * len(models)
        self._delivered = [
            (at, model) for at, model in enumerate(models) if isinstance(model, Delivered)
        ]

    def replay(self, log: EventLog, progress: Progress | None) -> Outcome:
        start_s = perf_counter()
        learns_all = self._settings.feedback == "all"
        events = in_order(
            log,
            self._settings.ties,
            self._settings.seed,
            keep=self._is_feedback if learns_all else self._is_target,
            progress=progress,
        )
        for event in events:
            self._describe(event)
            for at, model in self._delivered:
                started_s = process_time()
                model.advance(event.ts)
                self._took(at, started_s)
            if self._is_target(event):
                if self._n_targets >= self._n_warmup and self._is_drawn():
                    self._score(event)
                self._n_targets += 1
                self._learn(event, 1.0)
            else:
                self._learn(event, self._worth(event.type, event.value))
        self._flush()
        if self._n_targets != self._survey.n_targets:
            raise ConfigError(
                f"{log.name} held {self._survey.n_targets:,} events to score and then"
                f" {self._n_targets:,}: it changed while it was read; replay a copy"
            )
        return Outcome(
            settings=self._settings,
            log=self._survey,
            names=self._names,
            task=self._task,
            tally=self._tally,
            windows=self._windows,
            user_ids=list(self._scored_users),
            n_learned=self._n_learned,
            n_first_seen=self._n_first_seen,
            n_repeated=self._n_repeated,
            model_s=tuple(map(sum, zip(self._task.seconds, self._learn_s, strict=True))),
            elapsed_s=perf_counter() - start_s,
        )

    def _describe(self, event: Event) -> None:
        """Have models hear what the user of an event has said by then."""
        unheard, said = self._profiles.get(event.user_id), None
        while unheard and (unheard[-1].ts is None or unheard[-1].ts <= event.ts):
            said = unheard.pop()
        if said is not None:
            user_row = self._users.get(event.user_id, len(self._users))
            for model in self._profile_models:
                model.described(user_row, said, event.ts)

    def _is_feedback(self, event: Event) -> bool:
        worth = self._worth(event.type, event.value)
        return not math.isnan(worth) or self._is_target(event)

    def _is_drawn(self) -> bool:
        """Whether this target is among those that are scored."""
        share = self._settings.scored
        if share == 1:
            return True
        bits = int(stream(np.uint64(self._settings.seed), _SCORED, np.uint64(self._n_targets)))
        return bits < share * (1 << 64)

    def _took(self, model: int, since_s: float) -> None:
        """Count what learning takes, of each event in the process that has the turn."""
        if self._turns.has(self._turn):
            self._learn_s[model] += process_time() - since_s

    @property
    def _turn(self) -> int:
        return self._n_scored // BLOCK_EVENTS

    def _score(self, event: Event) -> None:
        user_row = self._users.get(event.user_id, UNKNOWN)
        item_row = self._items.get(event.item_id, UNKNOWN)
        asks, task = self._turns.has(self._turn), self._task
        if asks:
            is_scored = task.score(event, user_row, item_row, self._n_targets)
        else:
            assert isinstance(task, TopKTask)
            is_scored = task.skip(event, user_row, item_row)
        if not is_scored:
            self._n_repeated += 1
            return
        self._n_first_seen += item_row == UNKNOWN
        n_of_user = 0 if user_row == UNKNOWN else self._n_of_user[user_row]
        n_of_item = 0 if item_row == UNKNOWN else self._n_of_item[item_row]
        scored = self._scored_users.setdefault(event.user_id, len(self._scored_users))
        window = self._window(event.ts)
        if asks:
            self._pending.append((scored, window, n_of_user, n_of_item))
            if len(self._pending) == BLOCK_EVENTS:
                self._flush()
        self._n_scored += 1

    def _window(self, ts_ms: int) -> int:
        settings, windows = self._settings, self._windows
        if settings.window_ms is None:
            n_scored = self._survey.n_targets - self._n_warmup
            n_windows = min(settings.n_windows, n_scored)
            window = (self._n_targets - self._n_warmup) * n_windows // n_scored
        else:
            window = (ts_ms - windows[0].from_ts) // settings.window_ms if windows else 0
        while len(windows) <= window:
            windows.append(Window(ts_ms, ts_ms))
        windows[window].to_ts = ts_ms
        return window

    def _learn(self, event: Event, reward: float) -> None:
        user_row = self._users.setdefault(event.user_id, len(self._users))
        item_row = self._items.setdefault(event.item_id, len(self._items))
        if user_row == len(self._n_of_user):
            self._n_of_user.append(0)
        if item_row == len(self._n_of_item):
            self._n_of_item.append(0)
        interaction = Interaction(
            number=self._n_learned,
            event=event,
            user_row=user_row,
            item_row=item_row,
            reward=reward,
            item=self._catalogue.get(event.item_id),
        )
        for at, model in enumerate(self._models):
            started_s = process_time()
            model.learn(interaction)
            self._took(at, started_s)
        self._task.learned(event, user_row, item_row)
        self._n_of_user[user_row] += 1
        self._n_of_item[item_row] += 1
        self._n_learned += 1

    def _flush(self) -> None:
        if not self._pending:
            return
        columns: NDArray[np.int64] = np.array(self._pending, dtype=np.int64).T
        user_rows, windows, n_of_user, n_of_item = columns
        cold_below = self._settings.cold_below
        cold = n_of_user < cold_below, n_of_item < cold_below
        masks = cold[0], ~cold[0], cold[1], ~cold[1]
        self._take(
            self._turn,
            Scored(
                values=self._task.take_values(),
                user_rows=user_rows,
                windows=windows,
                groups=dict(zip(GROUPS, masks, strict=True)),
            ),
        )
        self._pending.clear()


def _ids(items: Iterable[Item], profiles: Mapping[str, Sequence[User]]) -> CommonIds:
    ids = CommonIds()
    for item in items:
        ids.add_item(item)
    for said in profiles.values():
        for user in said:
            ids.add_user(user)
    return ids


def profiles_by_user(users: Iterable[User]) -> dict[str, list[User]]:
    """Return what each user says, the first last; what has no time was said before all else."""
    found: dict[str, list[User]] = {}
    by_time = sorted(users, key=lambda user: -1 if user.ts is None else user.ts)
    for user in reversed(by_time):
        found.setdefault(user.user_id, []).append(user)
    return found


def _unread_of_requests(reads: Iterable[Read]) -> Iterator[str]:
    """Say which fields of requests are read that those of a replay never have, in sentences."""
    given = {"request.user_id"}
    for each in reads:
        if each.field.startswith("request.") and each.field not in given:
            yield (
                f"{each.setting} reads {each.field}, which no request of a replay has: a log does"
                " not say with what its users asked"
            )


def with_defaults(settings: Settings, *, warmup: float | None) -> Settings:
    """``settings`` with a share for the warm-up: 0.3 of what is ranked, none of what is rated."""
    if warmup is None:
        warmup = 0.3 if settings.task == "topk" else 0.0
    return msgspec.structs.replace(settings, warmup=warmup)
