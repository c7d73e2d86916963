"""Every error streamer raises on purpose.

::

    StreamerError
    ├── ConfigError            a key, a value or a combination of settings is wrong
    ├── BadMessage             one message can't be used: it becomes a dead letter
    ├── LogRefused             a log can't answer what it is asked
    ├── StoreError
    │   ├── StoreUnavailable   (retriable) the store did not answer in time
    │   ├── LayoutMismatch     the store was written with other settings or another version
    │   ├── Fenced             another owner has taken the partition: drop its state, reload
    │   └── LogTrimmed         a follower fell behind the delta log: reload from the tables
    ├── KafkaError
    │   ├── KafkaUnavailable   (retriable) the broker did not answer in time
    │   ├── TopicMismatch      topics are missing or have other partition counts
    │   └── DeliveryFailed     a message was not acknowledged
    │       └── DeliveryPending  (retriable) not yet: it is still tried
    ├── RegistryError          a schema registry refuses what it is asked, or there is none
    │   └── RegistryUnavailable  (retriable) it did not answer in time
    ├── RequestTimeout         (retriable) no recommendation came in time
    ├── Overloaded             (retriable) more wait already than may: the caller is told at once
    ├── NotChecked             a store could not be held against its record: nothing is said of it
    ├── Stopped                asked to stop while waiting: what was waited for is left undone
    └── LearningError          a parameter is not finite or out of range: stop, commit nothing
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from streamer.masking import without_secrets


class StreamerError(Exception):
    """Base of all. ``retriable``: the same call may work later, unchanged. ``exit_status``: of a
    command that ends with it.

    Its text has no secrets of URLs and no private keys: what a client said may be in it.
    """

    retriable = False
    exit_status = 1

    def __str__(self) -> str:
        return without_secrets(super().__str__())


class ConfigError(StreamerError):
    pass


class BadMessage(StreamerError):
    pass


class LogRefused(StreamerError):
    pass


class StoreError(StreamerError):
    pass


class StoreUnavailable(StoreError):
    retriable = True


class LayoutMismatch(StoreError):
    pass


class Fenced(StoreError):
    pass


class LogTrimmed(StoreError):
    pass


class KafkaError(StreamerError):
    pass


class KafkaUnavailable(KafkaError):
    retriable = True


class TopicMismatch(KafkaError):
    pass


class DeliveryFailed(KafkaError):
    pass


class DeliveryPending(DeliveryFailed):
    retriable = True


class RegistryError(StreamerError):
    pass


class RegistryUnavailable(RegistryError):
    retriable = True


class RequestTimeout(StreamerError):
    retriable = True


class Overloaded(StreamerError):
    retriable = True


class NotChecked(StreamerError):
    exit_status = 3


class Stopped(StreamerError):
    pass


class LearningError(StreamerError):
    pass


def is_interruption(error: BaseException) -> bool:
    """Return whether an error is a Ctrl-C or a stop, also one that came inside a compiled kernel.

    numba makes a SystemError of whatever a signal handler raises while it converts arguments and
    results, once or twice over, so that an ``except Exception`` would take it for a failure.
    """
    while isinstance(error, SystemError) and error.__cause__ is not None:
        error = error.__cause__
    return not isinstance(error, Exception)


def damaged(what: str) -> StoreError:
    """Return the error of a store that is not what was written: what was found, and the way out."""
    return StoreError(
        f"{what}. Something other than streamer changed the store: restore a copy of it, or forget"
        " what it has with `streamer store rebuild` and learn again from the topics"
    )


@contextmanager
def being_loaded(partition: int) -> Iterator[None]:
    """Errors of taking over what a store has of a partition come as StoreError."""
    try:
        yield
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise damaged(
            f"what the store has of partition {partition} does not go together"
            f" ({type(error).__name__}: {error})"
        ) from error
