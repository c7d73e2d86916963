"""What ends a demo: one signal after the round in hand, a second one at once."""

from __future__ import annotations

import signal

import pytest

from streamer.demo.demo import _stopped_by_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_in_order_and_a_second_one_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with _stopped_by_signals() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before
