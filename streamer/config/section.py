"""What all sections of the configuration share."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from streamer.config.masking import masked

Rows = Annotated[int, Meta(ge=1, le=100_000_000)]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all sections; prints itself without secrets."""

    def __repr__(self) -> str:
        texts = []
        for name in self.__struct_fields__:
            if name == "origins":  # for `streamer config`, not for logs
                continue
            value = getattr(self, name)
            text = repr(value) if isinstance(value, Section) else masked(name, value)
            texts.append(f"{name}={text}")
        return f"{type(self).__name__}({', '.join(texts)})"
