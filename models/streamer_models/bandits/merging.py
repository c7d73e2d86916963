"""What has to agree before what two models learned can be added up."""

from __future__ import annotations

from collections.abc import Sequence


def check_settings_agree(ours: object, theirs: object, settings: Sequence[str]) -> None:
    """Compare attributes of two models.

    Raises
    ------
    ValueError
        Where one differs.
    """
    for setting in settings:
        values = getattr(ours, setting), getattr(theirs, setting)
        if values[0] != values[1]:
            raise ValueError(
                f"models with {setting} of {values[0]} and {values[1]} do not add up; merge models"
                " of the same settings"
            )
