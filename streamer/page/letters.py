"""Dead letters: the newest, what each says, and the message that it is about."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from nicegui import ui

from streamer.application.topic_tail import tail_of
from streamer.config import Config, TopicRole
from streamer.dead_letters import kind_of_letter
from streamer.errors import BadMessage, StreamerError
from streamer.events import DeadLetter, decode_dead_letter
from streamer.http.waiting import delivered
from streamer.page.asking import AnswerPlace, at, heading, opened, said
from streamer.page.looking import Looking
from streamer.page.tables import table

READ_MAX: Final = 200
"""Of each partition, the newest: some 100 MB where each is about a message of 512 KiB."""
SHOWN_MAX: Final = 100
_ALL: Final = "all"
_KEYS: Final[dict[TopicRole, str]] = {"events": "user_id", "items": "item_id"}
"""What may be published again, and the field that is its key."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter and when it was published."""

    ts_ms: int
    letter: DeadLetter

    @property
    def where(self) -> str:
        """The topic, the partition and the offset of its message."""
        return f"{self.letter.topic}[{self.letter.partition}]@{self.letter.offset}"


def newest_letters(config: Config) -> list[Letter]:
    """Read the last dead letters, the newest first; blocks until the broker answers."""
    tail = tail_of(config, "dead_letters", n_max=READ_MAX)
    found = []
    for place in np.argsort(-tail.publish_ms, kind="stable").tolist():
        try:
            letter = decode_dead_letter(tail.values[place])
        except BadMessage:
            continue
        found.append(Letter(int(tail.publish_ms[place]), letter))
    return found


def key_again(config: Config, letter: DeadLetter) -> bytes:
    """Return the key under which a letter's message is published again.

    A letter does not hold the key; that of an event or an item is the id that it names.

    Raises
    ------
    BadMessage
        With why it can't be published again.
    """
    fields = {config.topics.topic(role): field for role, field in _KEYS.items()}
    field = fields.get(letter.topic)
    if field is None:
        raise BadMessage(
            f"messages of {letter.topic} are not published again: only events and items still mean"
            " the same later"
        )
    if letter.raw is None or letter.n_bytes > len(letter.raw):
        raise BadMessage("the letter does not hold the whole message; send it from where it came")
    try:
        named = msgspec.json.decode(letter.raw).get(field)
    except (msgspec.MsgspecError, ValueError, AttributeError, RecursionError):
        named = None
    if not isinstance(named, str) or not named:
        raise BadMessage(f"the message names no {field}, which is its key; mend what sends it")
    return named.encode()


class LettersTab:
    """The tab of dead letters."""

    def __init__(self, looking: Looking) -> None:
        self._served = looking.served
        with ui.element("div").classes("asked"):
            self._kind = ui.select({_ALL: _ALL}, value=_ALL, label="Kind").props("outlined dense")
            answers = AnswerPlace("Read the newest letters", self._read)
        self._list = ui.element("div").props('aria-live="polite"')
        self._opened = ui.element("div").props('aria-live="polite"')
        answers.put(ui.element("div"))
        self._letters: list[Letter] = []
        self._kind.on_value_change(self._show)

    async def _read(self) -> None:
        self._letters = await asyncio.to_thread(newest_letters, self._served.config)
        kinds = sorted({kind_of_letter(each.letter) for each in self._letters})
        value = self._kind.value if self._kind.value in kinds else _ALL
        self._kind.set_options([_ALL, *kinds], value=value)
        self._show()

    def _show(self) -> None:
        self._list.clear()
        self._opened.clear()
        chosen = [
            each
            for each in self._letters
            if self._kind.value in (_ALL, kind_of_letter(each.letter))
        ]
        with self._list:
            heading("Dead letters")
            said(
                f"{len(chosen):,} of the last {len(self._letters):,} letters"
                f"{f'; the newest {SHOWN_MAX} are shown' if len(chosen) > SHOWN_MAX else ''}."
            )
            if chosen:
                table(
                    "",
                    ["at (UTC)", "message", "reason"],
                    [
                        [at(each.ts_ms), each.where, each.letter.reason]
                        for each in chosen[:SHOWN_MAX]
                    ],
                    n_words=3,
                    action=("Open", functools.partial(self._open, chosen)),
                )

    async def _open(self, chosen: list[Letter], place: int) -> None:
        letter = chosen[place].letter
        self._opened.clear()
        with self._opened:
            opened(f"The message {chosen[place].where}")
            ui.label(letter.reason)
            if letter.raw is None:
                said("A tombstone: it has no bytes.")
                return
            cut = (
                f", the first {len(letter.raw):,} of them"
                if letter.n_bytes > len(letter.raw)
                else ""
            )
            said(f"{letter.n_bytes:,} bytes{cut}; what is no UTF-8 is shown as \\x…")
            with ui.element("pre").classes("raw").props('tabindex="0"'):
                ui.label(letter.raw.decode("utf-8", "backslashreplace"))
            try:
                key = key_again(self._served.config, letter)
            except BadMessage as error:
                said(f"It can't be published again from here: {error}.")
                return
            ui.button("Publish again …", on_click=lambda: self._confirm(letter, key)).props(
                "outline no-caps"
            )

    def _confirm(self, letter: DeadLetter, key: bytes) -> None:
        with ui.dialog(value=True) as dialog, ui.card():
            ui.label(f"Publish this message to {letter.topic} again?")
            said(
                "The same bytes, at a new offset. They are learned once what was wrong with them is"
                " mended in the configuration; else there will be another dead letter. An item"
                " takes the place of what the topic says of it now."
            )

            async def publish() -> None:
                dialog.close()
                await self._publish(letter, key)

            with ui.element("div").classes("asked"):
                ui.button("Publish it", on_click=publish).props("no-caps")
                ui.button("Leave it", on_click=dialog.close).props("outline no-caps autofocus")

    async def _publish(self, letter: DeadLetter, key: bytes) -> None:
        try:
            sent = self._served.parts.sink.send(letter.topic, key=key, value=letter.raw)
            await delivered(sent, self._served.config.http.timeout_ms / 1000)
        except StreamerError as error:
            with self._opened:
                ui.label(f"It was not published: {error}").classes("wrong")
            return
        with self._opened:
            ui.label(f"The broker has it, on {letter.topic}.")
