"""What the parser's syntax tree says: names, literals, and where something stands."""

from __future__ import annotations

import difflib
import math
from typing import Any, Final

FREE: Final = {"item": "attributes", "request": "context"}
"""The field of each thing that holds names of one's own."""
TEXTS: Final = ("STRING_LIT", "MLSTRING_LIT")
_ONE_INSIDE: Final = {
    *("expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication"),
    *("unary", "member", "primary", "paren_expr", "exprlist"),
}
"""Levels of the grammar that say nothing where one thing is inside."""


class BadExpression(Exception):
    """Why an expression can't be answered, and where it is wrong; not yet of which key."""


def inside(tree: Any) -> Any:
    """Return what a tree is about, without the levels of precedence and brackets around it."""
    while tree.data in _ONE_INSIDE and len(tree.children) == 1:
        tree = tree.children[0]
    return tree


def names_of(tree: Any) -> tuple[str, ...] | None:
    """Return the names of ``a.b.c`` or ``a.b["c"]``; None where it is something else."""
    names: list[str] = []
    tree = inside(tree)
    while tree.data in ("member_dot", "member_index"):
        inner, name = tree.children
        if tree.data == "member_index":
            literal = inside(name)
            if literal.data != "literal" or literal.children[0].type not in TEXTS:
                return None
            name = text_of(literal, literal.children[0])
        names.append(str(name))
        tree = inside(inner)
    return (str(tree.children[0]), *reversed(names)) if tree.data == "ident" else None


def text_of(tree: Any, token: Any) -> str:
    """Return what a literal in quotes stands for."""
    from celpy.evaluation import celstr

    try:
        text = str(celstr(token))
        text.encode()
    except ValueError as error:
        raise refused(tree, f"{token.value} holds what is no character") from error
    return text


def number_of(tree: Any, text: str) -> float:
    plain = text.rstrip("uU")
    number = float(int(plain, 16)) if "0x" in plain else float(plain)
    if not math.isfinite(number):
        raise refused(tree, f"{text[:20]} is beyond the largest finite number")
    return number


def unknown(tree: Any, name: str, known: tuple[str, ...], of: str = "") -> BadExpression:
    near = difflib.get_close_matches(name, known, n=1)
    hint = near[0] if near else f"{of}.{FREE[of]}.{name}" if of else ""
    what = f"{of} has no field {name!r}" if of else f"{name!r} is not known"
    asked = f"; did you mean {hint}?" if hint else ""
    return refused(tree, f"{what}; there are {', '.join(known)}{asked}")


def refused(tree: Any, problem: str) -> BadExpression:
    meta = tree.meta
    column, line = getattr(meta, "column", 1), getattr(meta, "line", 1)
    where = f"column {column}" if line == 1 else f"line {line}, column {column}"
    return BadExpression(f"at {where}: {problem}")
