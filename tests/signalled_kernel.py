"""A signal that comes inside a compiled kernel, wherever the machine is just then."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

_VALUES = np.ones(2)


@numba.njit(cache=True)
def _two(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return values.copy(), values.copy()


def run_signalled_kernel(number: signal.Signals) -> None:
    """Run a kernel, and have a signal come while numba makes Python objects of its results."""
    _two(_VALUES)  # what is called below is not the compiler

    def on_call(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_name != "_two":
            signal.raise_signal(number)

    sys.setprofile(on_call)
    try:
        _two(_VALUES)
    finally:
        sys.setprofile(None)
    raise AssertionError("numba called nothing in Python, so that no signal came")
