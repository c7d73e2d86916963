"""Integers that kernels know as numbers alone.

A plain integer is a type of its own in a kernel, ``Literal[int](0)``: all that it is passed to is
compiled for it, and once more for any other number.
"""

from __future__ import annotations

from typing import Final, cast

import numpy as np


def kernel_int(value: int) -> int:
    """Return an integer as a constant whose type, in a kernel, is that of all integers."""
    return cast(int, np.int64(value))


ZERO: Final = kernel_int(0)
"""For counts that begin at 0 and are passed on."""
