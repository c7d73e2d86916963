"""The Open Bandit Dataset (Saito et al. 2021): one row a shown item, three positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np

from streamer.errors import BadMessage, ConfigError, LogRefused
from streamer.ope.bandit_log import (
    BanditLog,
    Faults,
    Floats,
    LoggedRow,
    Progress,
    Survey,
    SurveyColumns,
    check_there,
    checked_propensity,
    no_propensities,
)
from streamer_producers.log_file import LogFile
from streamer_producers.separated import separated_records

CATEGORIES_MAX: Final = 64
"""Values of a user feature that become features of their own; the others share none."""
_SUFFIXES = (".csv", ".csv.gz")


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """What a line says; ``propensity`` is NaN where the log is stated to be uniform."""

    item: int
    position: int
    reward: float
    propensity: float
    ts_ms: int
    user: tuple[tuple[str, str], ...]
    affinities: Floats


class OpenBanditLog(BanditLog):
    """A folder such as ``random/all``, or its file ``all.csv[.gz]``.

    Every item can be shown at every position, and each row is drawn by itself, as in obp. Features
    of an item: those of the user, one-hot, and the affinity of user and item.
    """

    format = "obd"

    def __init__(self, path: Path, *, uniform: bool = False, strict: bool = False) -> None:
        self._file = LogFile(_file_in(path))
        super().__init__([self._file], uniform=uniform, strict=strict)
        self.campaign = self._file.path.name.partition(".")[0]
        self.feature_names: tuple[str, ...] = ()
        self._categories: dict[tuple[str, str], int] = {}
        self._slots: dict[int, int] = {}
        self._n_actions = 0
        self._items: dict[int, int] = {}
        self._says_items = True

    def survey(self, progress: Progress | None = None) -> Survey:
        faults, columns = Faults(strict=self.strict), SurveyColumns()
        # Items are numbered by their affinities, where the log has these; else they are the shown.
        if n_affinities := self._n_affinities():
            self._items = {item: item for item in range(n_affinities)}
            self._says_items = True
        else:
            shown = sorted({line.item for line in self._lines(Faults(strict=self.strict))})
            self._items = {item: action for action, item in enumerate(shown)}
            self._says_items = False
        self._n_actions = len(self._items)
        self._categories = {}
        for number, line in enumerate(self._lines(faults)):
            columns.add(
                request=number,
                position=line.position,
                chosen=self._items[line.item],
                reward=line.reward,
                propensity=line.propensity,
                n_candidates=self._n_actions,
            )
            self._notice(line)
            if progress is not None:
                progress(number + 1)
        self.feature_names = (*(f"{name}={value}" for name, value in self._categories), "affinity")
        survey = columns.survey(str(self._file), faults, [str(item) for item in self._items])
        self._slots = {position: slot for slot, position in enumerate(survey.positions)}
        return survey

    def remarks(self) -> Iterator[str]:
        """Whose items they are, where the log does not say."""
        if not self._says_items:
            yield (
                f"the log has no affinities, which would say what could be shown: its"
                f" {self._n_actions:,} items are those that were"
            )

    def rows(self, *, features: bool) -> Iterator[LoggedRow]:
        candidates = np.arange(self._n_actions)
        no_features = np.empty((self._n_actions, 0))
        for number, line in enumerate(self._lines(Faults(strict=False))):
            stated = np.isnan(line.propensity)
            yield LoggedRow(
                request=number,
                request_id="",
                slot=self._slots[line.position],
                ts_ms=line.ts_ms,
                candidates=candidates,
                chosen=self._items[line.item],
                reward=line.reward,
                propensity=1 / self._n_actions if stated else line.propensity,
                features=self._features(line) if features else no_features,
            )

    def _lines(self, faults: Faults) -> Iterator[_Line]:
        """The good lines; the others are added to ``faults``."""
        for number, record in separated_records(self._file, delimiter=","):
            try:
                if isinstance(record, BadMessage):
                    raise record
                yield self._line(record, number)
            except BadMessage as error:
                faults.add(self._file, number, error)

    def _line(self, record: dict[str, object], number: int) -> _Line:
        if not (self._stated_uniform or "propensity_score" in record):
            if len(record) == 1:
                raise LogRefused(
                    f"{self._file}: its first line names one column, {next(iter(record))[:40]!r};"
                    " write commas between columns, as the Open Bandit Dataset has them"
                )
            raise no_propensities(self._file, number)
        try:
            item, position = _whole(record["item_id"]), _whole(record["position"])
            reward = float(str(record["click"]))
            affinities = np.array(
                [value for name, value in record.items() if name.startswith("user-item_affinity")],
                dtype=np.float64,
            )
        except KeyError as error:
            raise LogRefused(
                f"{self._file}: there is no column {error}; is it of the Open Bandit Dataset?"
            ) from None
        except ValueError as error:
            raise BadMessage(f"{error}; a number is needed") from None
        propensity = np.nan
        if not self._stated_uniform:
            stated = _number(str(record["propensity_score"]))
            propensity = checked_propensity(stated, self._file, number)
        if item < 0 or (self._items and item not in self._items):
            raise BadMessage(f"item_id={item} is none of the {self._n_actions} items")
        if not (np.isfinite(reward) and np.isfinite(affinities).all()):
            raise BadMessage(f"click={reward} or an affinity is not a finite number")
        user = tuple((k, str(v)) for k, v in record.items() if k.startswith("user_feature"))
        return _Line(item, position, reward, propensity, _ts_ms(record), user, affinities)

    def _n_affinities(self) -> int:
        self._n_actions, self._items = 0, {}
        first = next(self._lines(Faults(strict=False)), None)
        return 0 if first is None else len(first.affinities)

    def _notice(self, line: _Line) -> None:
        """Give each value of a user feature a column, as long as there is room."""
        for category in line.user:
            if (
                category not in self._categories
                and len(self._categories) < len(line.user) * CATEGORIES_MAX
            ):
                self._categories[category] = len(self._categories)

    def _features(self, line: _Line) -> Floats:
        features = np.zeros((self._n_actions, len(self.feature_names)))
        for category in line.user:
            column = self._categories.get(category)
            if column is not None:
                features[:, column] = 1.0
        features[: len(line.affinities), -1] = line.affinities
        return features


def _file_in(path: Path) -> Path:
    if path.is_file():
        return path
    check_there(path)
    found = [
        each
        for each in (sorted(path.iterdir()) if path.is_dir() else [])
        if each.name.endswith(_SUFFIXES) and not each.name.startswith("item_context")
    ]
    if len(found) != 1:
        raise ConfigError(
            f"{path} holds {len(found)} logs; name a folder of the Open Bandit Dataset such as"
            " random/all, or the file all.csv or all.csv.gz in it"
        )
    return found[0]


def _whole(value: object) -> int:
    """Return a whole number, also one that was made a float, as beside a missing value."""
    number = float(str(value))
    if not number.is_integer():
        raise ValueError(f"{str(value)!r} is no whole number")
    return int(number)


def _number(text: str) -> float | str:
    """Return a number; the text itself where it is none."""
    try:
        return float(text)
    except ValueError:
        return text


def _ts_ms(record: dict[str, object]) -> int:
    try:
        return int(datetime.fromisoformat(str(record.get("timestamp", ""))).timestamp() * 1_000)
    except ValueError:
        return 0
