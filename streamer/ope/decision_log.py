"""Our own decisions with the events that answer them: one row an item shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec.structs import replace as with_fields
from numpy.typing import NDArray

from streamer.config import Config, JoinConfig
from streamer.errors import BadMessage, ConfigError, LogRefused
from streamer.events import Decision, decode_decision
from streamer.events.rejection import refuse_seconds
from streamer.learner.join.counts import ASTRAY, PINNED
from streamer.learner.join.shown import scored
from streamer.learner.rewards import Rewards
from streamer.ope.ahead import ArrivalTimes, Sent, far_reason, with_next
from streamer.ope.bandit_log import (
    BanditLog,
    Faults,
    LoggedRow,
    Progress,
    Survey,
    SurveyColumns,
    check_there,
    checked_propensity,
    no_propensities,
)
from streamer.ope.logged_rewards import LoggedRewards
from streamer.ope.repeats import Repeats
from streamer.ranking.columns.position import POSITION
from streamer.ranking.logged_composition import composition_of
from streamer_models.bandits.composition_kernels import places_of
from streamer_models.bandits.pinned_slots import free_slots
from streamer_producers.log_file import LogFile

DEDUP_WINDOW = Config().learner.dedup_window
_BATCH: Final = 400
"""Decisions that are in memory at a time, twice over: some of a thousand candidates have 100 kB."""
_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_STATED = re.compile(rb'"propensities"\s*:\s*\[([^\]]+)\]')


_DecisionLine = tuple[int, Decision, bytes]


@dataclass(slots=True)
class _LeftOut:
    """What a pass over the decisions did not take as it is.

    Attributes
    ----------
    n_ahead
        Decisions that count as of those around them.
    repeats
        Decisions that repeat a ``request_id``.
    """

    n_ahead: int = 0
    repeats: Repeats = field(default_factory=Repeats)


class DecisionLog(BanditLog):
    """JSON lines of :class:`streamer.events.Decision` and of :class:`streamer.events.Event`.

    A slot's propensity is that of its item given the slots before it, so its candidates are those
    that the slots before it have left, and where the slate was composed, that its caps allowed
    there; its position is where it stood among pinned items. An item's reward is what the learner
    would have learned of it (see :class:`LoggedRewards`), the weighed sum of what it brought where
    there are objectives; an item that was not seen although others were reported to be is no row. A
    repeated ``request_id`` is passed over and counted; the order is that of the file.

    Parameters
    ----------
    path
        The decisions, or a folder with ``decisions.jsonl`` and ``events.jsonl`` (or ``.gz``).
    dedup_window
        Events within which an ``event_id`` counts once.
    events
        The events; None: those of the folder.
    """

    format = "decisions"

    def __init__(
        self,
        path: Path,
        *,
        rewards: Rewards,
        join: JoinConfig,
        dedup_window: int = DEDUP_WINDOW,
        events: Path | None = None,
        uniform: bool = False,
        strict: bool = False,
    ) -> None:
        check_there(path)
        self._file = LogFile(file_in(path, "decisions"))
        if events is None and not path.is_dir():
            raise ConfigError(
                f"{path} says what was shown, not what became of it; name the events with --events"
            )
        events_file = LogFile(file_in(path if events is None else events, "events"))
        super().__init__([self._file, events_file], uniform=uniform, strict=strict)
        self._rewards = LoggedRewards(events_file, rewards, join, dedup_window=dedup_window)
        self._weights = rewards.weights
        self._lateness_ms = round(1000 * join.lateness_s)
        self._left_out = _LeftOut()
        self._actions: dict[str, int] = {}
        self._slots: dict[int, int] = {}
        self.feature_names: tuple[str, ...] = ()

    def survey(self, progress: Progress | None = None) -> Survey:
        faults, columns = Faults(strict=self.strict), SurveyColumns(self._weights)
        self._left_out = _LeftOut()
        self._actions, self._slots, self.feature_names = {}, {}, ()
        for number, decision in enumerate(self._decisions(faults, self._left_out)):
            self._rewards.expect(decision)
            for item in (*decision.candidates, *decision.items):
                self._actions.setdefault(item, len(self._actions))
            for position in _positions(decision):
                self._slots.setdefault(position, 0)
            if progress is not None:
                progress(number + 1)
        self._rewards.read(faults)
        self._rewards.refuse_unreadable()
        positions = sorted(self._slots)
        self._slots = {position: slot for slot, position in enumerate(positions)}
        for row in self.rows(features=False):
            columns.add(
                request=row.request,
                position=positions[row.slot],
                chosen=int(row.candidates[row.chosen]),
                reward=row.reward,
                propensity=row.propensity,
                n_candidates=len(row.candidates),
                gains=row.gains,
            )
        return columns.survey(str(self._file), faults, list(self._actions))

    def weighed(self, weights: Mapping[str, float], survey: Survey) -> tuple[DecisionLog, Survey]:
        """Return this log, and what its survey found, with the objectives weighed otherwise.

        Nothing is read or joined anew: what each row brought of each objective is known.
        """
        log = copy(self)
        log._weights = dict(weights)
        if not weights:
            return log, survey
        gains = np.stack([survey.gains[name] for name in weights], axis=1)
        return log, replace(survey, rewards=scored(gains, np.array([*weights.values()])))

    def remarks(self) -> Iterator[str]:
        """What is missing, how many events answered no decision and why, and which slates nothing
        answers."""
        for file in self.files:
            yield from file.gone
        if n_ahead := self._left_out.n_ahead + self._rewards.n_ahead:
            yield (
                f"{n_ahead:,} decisions and events whose time lies ahead of those around them count"
                " as these do"
            )
        unused = self._rewards.unused.copy()
        n_pinned = unused.pop(PINNED, 0)
        n_unused = unused.total()
        if n_unused:
            reasons = sorted(ASTRAY, key=lambda reason: -unused[reason])
            why = ", ".join(f"{unused[reason]:,} {reason}" for reason in reasons if unused[reason])
            yield (
                f"{n_unused:,} of {n_unused + self._rewards.n_matched:,} events that could be"
                f" answers found no decision and count for nothing: {why}"
            )
        if n_pinned:
            yield (
                f"{n_pinned:,} events are of items that were pinned, and so not chosen: they found"
                " their decisions, and count for nothing here"
            )
        if n_unanswered := self._rewards.n_unanswered:
            slates = f"{n_unanswered:,} slates without any feedback or impression"
            if self._rewards.reports_impressions:
                yield (
                    f"{slates} were left out, as the learner leaves them out"
                    ' (join.unanswered = "counts" counts them as seen and not taken)'
                )
            else:
                yield (
                    f"{slates} count as seen and not taken, since the log reports no impressions;"
                    ' the learner learns nothing of them unless join.unanswered = "counts"'
                )
        yield from self._left_out.repeats.remarks("decisions", "request_id")
        yield from self._rewards.repeats.remarks("events", "event_id")

    def rows(self, *, features: bool) -> Iterator[LoggedRow]:
        for request, decision in enumerate(self._decisions(Faults(strict=False), _LeftOut())):
            yield from self._rows_of(decision, request, features=features)

    def _rows_of(self, decision: Decision, request: int, *, features: bool) -> Iterator[LoggedRow]:
        n_columns = len(self.feature_names) if features else 0
        matrix = decision.feature_matrix()[:, :n_columns]
        learned = _learned_features(decision, matrix, self.feature_names[:n_columns])
        actions = np.array([self._actions[item] for item in decision.candidates], dtype=np.intp)
        rewards, gains = self._rewards.of(decision), self._rewards.gains(decision)
        if self._weights:
            rewards = scored(gains, np.array([*self._weights.values()]))
        order, positions = _in_order(decision), _positions(decision)
        possible, costs = _possible(decision)
        for place, item in enumerate(order):
            shown = decision.candidates[item]
            at = decision.items.index(shown)
            if np.isnan(rewards[at]):
                continue
            left = np.flatnonzero(possible[place])
            propensity = decision.propensities[at]
            yield LoggedRow(
                request=request,
                request_id=decision.request_id,
                slot=self._slots[positions[at]],
                ts_ms=decision.ts,
                candidates=actions[left],
                chosen=int(np.searchsorted(left, item)),
                reward=float(rewards[at]),
                propensity=1 / len(left) if self._stated_uniform else propensity,
                features=matrix[left].astype(np.float64),
                costs=None if costs is None else costs[place, left],
                gains=gains[at],
                learned_features=learned[at],
            )

    def _decisions(self, faults: Faults, left_out: _LeftOut) -> Iterator[Decision]:
        """The good decisions, each once, at the times that count; the others are added to
        ``faults`` or counted as left out."""
        repeats = left_out.repeats
        clock = ArrivalTimes(self._lateness_ms)
        for batch, following in with_next(self._batches(faults)):
            times = clock.counted(_sent(batch), _sent(following or ()))
            for at, (number, decision, line) in enumerate(batch):
                if times.far[at]:
                    faults.add(self._file, number, BadMessage(far_reason(decision.ts)))
                elif decision.request_id in repeats:
                    repeats.count(decision.request_id, line, f"{self._file}:{number}")
                else:
                    repeats.note(decision.request_id, line)
                    left_out.n_ahead += bool(times.ahead[at])
                    yield with_fields(decision, ts=int(times.ts_ms[at]))

    def _batches(self, faults: Faults) -> Iterator[list[_DecisionLine]]:
        """The decisions that can be read, with their lines."""
        decisions = self._readable(faults)
        while batch := list(islice(decisions, _BATCH)):
            yield batch

    def _readable(self, faults: Faults) -> Iterator[_DecisionLine]:
        for number, line in self._file.lines():
            if line.isspace():
                continue
            try:
                yield number, self._decision(line, number), line
            except BadMessage as error:
                faults.add(self._file, number, error)

    def _decision(self, line: bytes, number: int) -> Decision:
        if self._stated_uniform:
            line = _with_propensities(line)
        try:
            decision = decode_decision(line)
        except BadMessage:
            # A malformed line may be passed over; a log that can't be weighed may not.
            if not self._stated_uniform:
                _refuse_propensities(line, self._file, number)
            raise
        refuse_seconds(decision.ts, "ts")
        if not set(decision.items) <= set(decision.candidates):
            raise BadMessage("an item shown is not among the candidates")
        if len(set(decision.items)) < len(decision.items):
            raise BadMessage("an item is shown twice")
        if len(set(decision.candidates)) < len(decision.candidates):
            raise BadMessage("a candidate is named twice")
        possible, _ = _possible(decision)
        if not possible[np.arange(len(decision.items)), _in_order(decision)].all():
            raise BadMessage("an item is shown where its composition does not allow it")
        names = tuple(decision.feature_names)
        self.feature_names = self.feature_names or names
        if names != self.feature_names:
            raise BadMessage(
                f"its {len(names)} features are not the {len(self.feature_names)} of the first"
                " decision; evaluate the log of each configuration by itself"
            )
        return decision


class LoggedSlates:
    """What another policy showed for the same requests, out of a file of its decisions.

    Parameters
    ----------
    strict
        Whether a malformed line ends it.

    Raises
    ------
    ConfigError
        When the file is the log itself: then its draws say nothing of other draws.
    BadMessage
        At the first malformed line, when it is strict.
    LogRefused
        When no line can be read.
    """

    def __init__(self, path: Path, log: BanditLog, *, strict: bool) -> None:
        check_there(path)
        self._file = file = LogFile(file_in(path, "decisions"))
        if file.path.resolve() == log.files[0].path.resolve():
            raise ConfigError(
                f"{file} is the log itself, whose value is that of its own rewards; name decisions"
                " that were drawn apart from it"
            )
        self._faults, self._repeats = Faults(strict=strict), Repeats()
        self._shown: dict[str, dict[str, int]] = {}
        self._unknown: set[str] = set()
        for number, line in file.lines():
            if line.isspace():
                continue
            try:
                decision = decode_decision(line)
            except BadMessage as error:
                self._faults.add(file, number, error)
                continue
            if decision.request_id in self._repeats:
                self._repeats.count(decision.request_id, line, f"{file}:{number}")
                continue
            self._repeats.note(decision.request_id, line)
            positions = dict(zip(decision.items, _positions(decision), strict=True))
            self._shown[decision.request_id] = positions
        if not self._shown:
            first = f"; the first: {self._faults.first[0]}" if self._faults.n else ""
            raise LogRefused(f"{file} holds no decision that can be read{first}")

    def shows(self, request_id: str, item_ids: Iterable[str], position: int) -> NDArray[np.bool_]:
        """Which of the items it showed at a position of a request; none where it is unknown."""
        if request_id not in self._shown:
            self._unknown.add(request_id)
        positions = self._shown.get(request_id, {})
        return np.array([positions.get(item) == position for item in item_ids], dtype=bool)

    def remarks(self) -> Iterator[str]:
        """Return what of the file was left out, and which requests it lacked of those asked for."""
        if n := self._faults.n:
            first = "; ".join(map(str, self._faults.first))
            yield f"{n:,} lines of {self._file} can't be read and are left out: {first}"
        yield from self._repeats.remarks(f"decisions of {self._file}", "request_id")
        if n := len(self._unknown):
            yield (
                f"{n:,} requests of the log are not in {self._file}: there the policy shows nothing"
            )


def _sent(decisions: Sequence[_DecisionLine]) -> Sent:
    """The times, and who asked."""
    asked = [(decision.ts, hash(decision.user_id)) for _, decision, _ in decisions]
    ts_ms, senders = np.array(asked, dtype=np.int64).reshape(-1, 2).T
    return Sent(ts_ms, senders)


def _learned_features(
    decision: Decision, matrix: NDArray[np.float32], names: Sequence[str]
) -> NDArray[np.float64]:
    """Return ``(k, n_features)`` of the items shown, as the learner takes them: with where they
    stood (:class:`streamer.ranking.columns.position.PositionColumn`)."""
    at = {item: index for index, item in enumerate(decision.candidates)}
    learned = matrix[[at[item] for item in decision.items]]
    if POSITION in names:
        learned[:, names.index(POSITION)] = np.log1p(_positions(decision))
    return learned.astype(np.float64)


def _positions(decision: Decision) -> list[int]:
    """Return where each item stood, from 0, among the chosen ones and the pinned ones."""
    free = free_slots(max(decision.positions, default=-1) + 1, decision.pinned_at).tolist()
    return [free[place] for place in decision.positions]


def _in_order(decision: Decision) -> list[int]:
    """Return the indices of the items shown among the candidates, by position."""
    at = {item: index for index, item in enumerate(decision.candidates)}
    order = np.argsort(decision.positions, kind="stable").tolist()
    return [at[decision.items[place]] for place in order]


def _possible(decision: Decision) -> tuple[NDArray[np.bool_], NDArray[np.float64] | None]:
    """Return ``(n_items, n_candidates)`` what could be shown at each place, by position, and what
    it cost there; None where nothing was composed.

    Raises
    ------
    BadMessage
        Where the composition can't be read.
    """
    order, n = np.array(_in_order(decision), dtype=np.intp), len(decision.candidates)
    composition = composition_of(decision)
    if composition.on:
        return places_of(composition, order, n)
    possible = np.ones((len(order), n), dtype=np.bool_)
    for place, item in enumerate(order):
        possible[place + 1 :, item] = False
    return possible, None


def file_in(path: Path, stem: str) -> Path:
    """Return the file of a folder with a name and one of the suffixes; of a file, itself.

    Raises
    ------
    ConfigError
        Where the folder has none or several.
    """
    if not path.is_dir():
        return path
    found = files_in(path, stem)
    if len(found) != 1:
        raise ConfigError(
            f"{path} holds {len(found)} files of {stem}; a log is a folder with decisions.jsonl and"
            " events.jsonl, or name the files: DECISIONS --events EVENTS"
        )
    return found[0]


def files_in(folder: Path, stem: str) -> list[Path]:
    """Return the files of a folder with a name and one of the suffixes."""
    named = [folder / f"{stem}{suffix}" for suffix in _SUFFIXES]
    return [path for path in named if path.exists()]


def _loosely(line: bytes) -> dict[str, Any]:
    """A line's fields, however wrong; a number may be NaN or infinite."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):  # of UTF-8 too
        return {}
    return fields if isinstance(fields, dict) else {}


def _with_propensities(line: bytes) -> bytes:
    fields = _loosely(line)
    if not isinstance(fields.get("items"), list):
        return line
    fields["propensities"] = [1.0] * len(fields["items"])
    return json.dumps(fields).encode()


def _refuse_propensities(line: bytes, file: LogFile, number: int) -> None:
    """Refuse the log of a malformed line that says items, and not how they were drawn."""
    fields = _loosely(line)
    if not fields and (stated := _STATED.search(line)):  # no JSON, as with nan for a number
        for text in stated[1].split(b","):
            checked_propensity(_number(text.strip()), file, number)
        return
    items, propensities = fields.get("items"), fields.get("propensities")
    if not isinstance(items, list) or not items:
        return
    if not isinstance(propensities, list) or not propensities:
        raise no_propensities(file, number)
    for value in propensities:
        checked_propensity(value, file, number)
    if len(propensities) != len(items):
        raise LogRefused(
            f"{file}:{number}: {len(propensities)} propensities for {len(items)} items; log the"
            " probability with which each item was drawn: without it the log can't be weighed"
        )


def _number(text: bytes) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.decode(errors="replace")
