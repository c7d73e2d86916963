"""A model: the tables it keeps, and how a step of a partition is learned into them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from streamer_models.state.inputs import Inputs
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Change, Keys, TableSpec


class Prepared(Protocol):
    """A step made ready to be learned in pieces, between which it can be looked at what is known.

    What the whole step needs once (rows touched, random draws) is done.
    """

    def run(self, start: int, stop: int) -> None:
        """Learn ``feedback[start:stop]``. Pieces follow each other from 0 to the end; with the last
        one, whatever is no feedback is learned too."""


class Model(ABC):
    """One learner. It holds settings, never state: state is in the tables it names.

    What it learns depends on the tables, on ids' keys, on offsets, on event times and on its seed
    alone; learning a step equals learning its events one by one. Certify one of your own with
    :func:`streamer.testing.check_model`.
    """

    @property
    def name(self) -> str:
        """Name under which a store keeps its settings; it is there once among models."""
        return type(self).__name__

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Return all that what it learns depends on beside its inputs, as JSON has it.

        A store keeps them in clear. Where they change, the model's tables begin anew, and the
        other models go on.
        """

    @abstractmethod
    def tables(self) -> Sequence[TableSpec]:
        """Return the tables it keeps; own ones arrive as ``state.own[name]``, shared ones as
        ``shared.tables[name]`` and ``state.contributions[name]``, all large enough for every slot
        or row of the feedback (tables keyed by a plain index: the model reserves them)."""

    def initial(self, table: str, keys: Keys) -> NDArray[Any] | None:
        """Return the ``(n, width)`` values that shared rows of new ids start from; None: zeros."""
        return None

    def readable(self) -> Sequence[Readable]:
        """Return the tables that are replicated for readers, and how each is read."""
        return ()

    def make_room(self, ahead: Inputs, state: PartitionState) -> int | None:
        """Evict ids until the first of what lies ahead can be learned.

        It comes before anything else of a commit: what is evicted is withdrawn as it was
        committed. What is evicted, and when, must be a function of what lies ahead in its order
        alone, wherever batches end.

        Parameters
        ----------
        ahead
            What was read of one topic and is not learned yet: its ``events``, or its ``shown``.

        Returns
        -------
        int or None
            Offset of the first event (decision) that needs another eviction: a step ends there at
            the latest, and this is called again; None: all can be learned.
        """
        return None

    @abstractmethod
    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        """Learn a step. Rows of REPLACE, SUM, DECAYED and MAX tables are ``touch``-ed before
        they are written; RECENT and NEIGHBOURS tables are given changes by ``merge``.

        Of a shared table, one of two is written: ``shared.tables[name]`` at ``item_rows`` where a
        step must see all partitions and its own last step (factors), or
        ``state.contributions[name]`` at ``item_slots`` where it only adds up (counts): what a
        partition adds then depends on its own events alone."""

    def prepare(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> Prepared:
        """Make a step ready. By default all of it is learned with its last piece."""
        return _AtOnce(self, inputs, state, shared)

    def rescale(self, shared: SharedState, others: Sequence[Change]) -> None:
        """Shorten the step just learned for what other learners committed meanwhile. What only
        adds up needs no shortening."""
        return


class StepwiseModel(Model):
    """A model whose state is right before every event of a step: what is known then can be asked
    for, as practising does."""

    @abstractmethod
    def prepare(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> Prepared:
        """Touch rows, draw what is random, look up what was before: all that learns nothing yet."""

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        """Learn a step in one piece."""
        self.prepare(inputs, state, shared).run(0, len(inputs.feedback))


@dataclass(frozen=True, slots=True)
class _AtOnce:
    model: Model
    inputs: Inputs
    state: PartitionState
    shared: SharedState

    def run(self, start: int, stop: int) -> None:
        if stop == len(self.inputs.feedback):
            self.model.learn(self.inputs, self.state, self.shared)


class NothingPrepared:
    """A step that teaches a model nothing."""

    def run(self, start: int, stop: int) -> None:
        return


def make_room(models: Sequence[Model], ahead: Inputs, state: PartitionState) -> int | None:
    """Let all models evict; return the offset below which all of them can learn, None for all."""
    ends = [model.make_room(ahead, state) for model in models]
    return min((end for end in ends if end is not None), default=None)


def learn(models: Sequence[Model], inputs: Inputs, state: PartitionState) -> None:
    """Learn a step: all models look at what was before it, then they learn, one after another."""
    for prepared in [model.prepare(inputs, state, state.shared) for model in models]:
        prepared.run(0, len(inputs.feedback))


K = TypeVar("K", bound=Model)


def model_of(models: Sequence[Model], kind: type[K]) -> K | None:
    """Return the model of a kind among those that learn together; None where there is none.

    A kind is there once at most: the names of its tables are its own.
    """
    return next((model for model in models if isinstance(model, kind)), None)
