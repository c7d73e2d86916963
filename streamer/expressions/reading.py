"""A text in CEL, the Common Expression Language → what it says, or why it can't be answered.

The parser is that of ``cel-python``. Nothing is evaluated by it: its syntax tree becomes the nodes
of :mod:`streamer.expressions.tree`, and what these can't say is refused with its position.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import TYPE_CHECKING, Any, Final

from streamer.errors import BadMessage
from streamer.expressions.syntax import (
    FREE,
    TEXTS,
    BadExpression,
    inside,
    names_of,
    number_of,
    refused,
    text_of,
    unknown,
)
from streamer.expressions.tree import (
    ITEM_FIELDS,
    LIST_FIELDS,
    REQUEST_FIELDS,
    And,
    Arithmetic,
    Condition,
    Constant,
    Equal,
    IsTrue,
    ItemField,
    Listed,
    Node,
    Not,
    Now,
    OneOf,
    Or,
    Ordered,
    Present,
    RequestField,
    Size,
    Value,
    item_fields,
)

if TYPE_CHECKING:
    from lark import Token, Tree

LENGTH_MAX: Final = 2_000
"""Characters of an expression."""
_DEPTH_MAX: Final = 60
_NODES_MAX: Final = 200
"""Parts of an expression: over 100,000 items each takes some .1 ms when it is not remembered."""
_FIELDS_MAX: Final = 16
_REMEMBERED: Final = 256

_PACKAGE_MISSING: Final = (
    "expressions need the package cel-python, which is not installed: pip install '.[rules]' in the"
    " folder of streamer's code"
)
_VALUES: Final = (Constant, ItemField, RequestField, Now, Size, Arithmetic)
_LABELS: Final = {"item": (*ITEM_FIELDS, *LIST_FIELDS), "request": REQUEST_FIELDS}
_INSTEAD: Final = {
    "multiplication_div": "multiply the other side instead of dividing",
    "multiplication_mod": "a remainder is not computed",
    "member_dot_arg": "functions are not computed over columns, but for has(FIELD) and size(LIST)",
    "member_object": "messages are not made",
    "map_lit": "maps are not made",
    "dot_ident": "names begin without a dot",
    "dot_ident_arg": "names begin without a dot",
}


@functools.lru_cache(maxsize=_REMEMBERED)
def read(text: str) -> Condition:
    """Return the condition that a text states.

    Raises
    ------
    BadExpression
        Where it is no CEL, names an unknown field, or asks for what columns can't answer.

    Examples
    --------
    >>> read("'news' in item.categories")
    Listed(value=Constant(kind=<class 'str'>, value='news'), field='categories')
    """
    if len(text) > LENGTH_MAX:
        raise BadExpression(f"{len(text):,} characters are over the bound of {LENGTH_MAX:,}")
    found = _Reader().condition(_parsed(text), 0)
    if (n := len(item_fields(found))) > _FIELDS_MAX:
        raise BadExpression(f"it reads {n} fields of the item; {_FIELDS_MAX} are the most")
    return found


def read_filter(text: str) -> Condition:
    """Return the condition that the filter of a request states; raises BadMessage."""
    try:
        return read(text)
    except BadExpression as error:
        raise BadMessage(f"field 'filter': {text!r}: {error}") from error


@functools.cache
def can_read() -> bool:
    """Return whether the package is there that reads conditions."""
    return importlib.util.find_spec("celpy") is not None


def _parsed(text: str) -> Tree[Token]:
    try:
        from celpy.celparser import CELParseError, CELParser
    except ImportError as error:
        raise BadExpression(_PACKAGE_MISSING) from error
    try:
        return CELParser().parse(text)
    except CELParseError as error:
        raise BadExpression(
            f"it is no CEL{_at(text, error)}: write it as in `'news' in item.categories &&"
            " item.attributes.price < 20`"
        ) from error


def _at(text: str, error: Any) -> str:
    """Return where a parser's error is, as far as it says it."""
    if error.line is None or error.column is None or error.line < 1:
        return ""
    line = text.split("\n")[error.line - 1] if text else ""
    rest = line[error.column - 1 :].strip()
    where = f"column {error.column}"
    where = f" at {where}" if error.line == 1 else f" at line {error.line}, {where}"
    return f"{where}, near {rest[:20]!r}" if rest else where


class _Reader:
    """Reads the syntax tree of one expression."""

    def __init__(self) -> None:
        self._n_nodes = 0

    def condition(self, tree: Any, depth: int) -> Condition:
        found = self.node(tree, depth)
        if isinstance(found, Constant) and not isinstance(found.value, bool):
            raise refused(tree, f"{found.value!r} is no condition; compare it with something")
        if isinstance(found, Size | Now | Arithmetic):
            raise refused(tree, "a number is no condition; compare it with another one")
        return IsTrue(found) if isinstance(found, _VALUES) else found

    def value(self, tree: Any, depth: int) -> Value:
        found = self.node(tree, depth)
        if not isinstance(found, _VALUES):
            raise refused(
                tree, "a condition is no value here; join conditions with `&&`, `||` and `!`"
            )
        return found

    def node(self, tree: Any, depth: int) -> Node:
        tree = inside(tree)
        self._n_nodes += 1
        if depth > _DEPTH_MAX or self._n_nodes > _NODES_MAX:
            raise BadExpression(
                f"it has over {_NODES_MAX} parts, or over {_DEPTH_MAX} one inside the other;"
                " make it simpler"
            )
        reader = getattr(self, f"_{tree.data}", None)
        if reader is None:
            raise refused(tree, _INSTEAD.get(str(tree.data), "this is not computed over columns"))
        found: Node = reader(tree, depth + 1)
        return found

    # --- conditions --------------------------------------------------------------------------

    def _expr(self, tree: Any, depth: int) -> Node:
        raise refused(tree, "`a ? b : c` is not computed; write (a && b) || (!a && c)")

    def _conditionalor(self, tree: Any, depth: int) -> Node:
        left, right = tree.children
        return Or(self.condition(left, depth), self.condition(right, depth))

    def _conditionaland(self, tree: Any, depth: int) -> Node:
        left, right = tree.children
        return And(self.condition(left, depth), self.condition(right, depth))

    def _relation(self, tree: Any, depth: int) -> Node:
        operation, right = tree.children
        (left,) = operation.children
        name = str(operation.data)
        if name == "relation_in":
            return self._within(self.value(left, depth), inside(right), depth)
        values = self.value(left, depth), self.value(right, depth)
        if name == "relation_eq":
            return Equal(*values)
        if name == "relation_ne":
            return Not(Equal(*values))
        self._check_numbers(tree, values, "order is kept of numbers alone")
        operators: dict[str, Any] = {
            "relation_lt": "<",
            "relation_le": "<=",
            "relation_gt": ">",
            "relation_ge": ">=",
        }
        return Ordered(operators[name], *values)

    def _within(self, value: Value, tree: Any, depth: int) -> Node:
        if tree.data == "list_lit":
            elements = tree.children[0].children if tree.children else []
            return OneOf(value, tuple(self.value(each, depth) for each in elements))
        field = names_of(tree)
        if field is not None and field[0] == "item" and field[1:] in [(f,) for f in LIST_FIELDS]:
            return Listed(value, field[1])
        if field is not None:
            self._field(tree, field, listed=True)  # an unknown one is refused as such
        lists = " or ".join(f"item.{each}" for each in LIST_FIELDS)
        raise refused(tree, f"`in` needs a list: {lists}, or values such as ['a', 'b']")

    # --- values ------------------------------------------------------------------------------

    def _addition(self, tree: Any, depth: int) -> Node:
        return self._arithmetic(tree, depth, {"addition_add": "+", "addition_sub": "-"})

    def _multiplication(self, tree: Any, depth: int) -> Node:
        return self._arithmetic(tree, depth, {"multiplication_mul": "*"})

    def _arithmetic(self, tree: Any, depth: int, operators: dict[str, Any]) -> Node:
        operation, right = tree.children
        operator = operators.get(str(operation.data))
        if operator is None:
            raise refused(tree, _INSTEAD[str(operation.data)])
        (left,) = operation.children
        values = self.value(left, depth), self.value(right, depth)
        self._check_numbers(tree, values, "only numbers are added and multiplied")
        return Arithmetic(operator, *values)

    def _check_numbers(self, tree: Any, values: tuple[Value, Value], problem: str) -> None:
        for each in values:
            if isinstance(each, Constant) and each.kind is not float:
                raise refused(tree, f"{problem}; {each.value!r} is none")

    def _unary(self, tree: Any, depth: int) -> Node:
        operation, operand = tree.children
        if operation.data == "unary_not":
            return Not(self.condition(operand, depth))
        value = self.value(operand, depth)
        self._check_numbers(tree, (value, value), "only a number has a negative")
        return Arithmetic("-", Constant(float, 0.0), value)

    def _literal(self, tree: Any, depth: int) -> Node:
        (token,) = tree.children
        if token.type in TEXTS:
            return Constant(str, text_of(tree, token))
        if token.type == "BOOL_LIT":
            return Constant(bool, token.value == "true")
        if token.type in ("INT_LIT", "UINT_LIT", "FLOAT_LIT"):
            return Constant(float, number_of(tree, token.value))
        if token.type == "NULL_LIT":
            raise refused(tree, "no field is null: has(item.attributes.NAME) says if it is there")
        raise refused(tree, "bytes are not compared")

    def _list_lit(self, tree: Any, depth: int) -> Node:
        raise refused(tree, "a list stands behind `in` alone")

    def _ident_arg(self, tree: Any, depth: int) -> Node:
        name, arguments = tree.children[0], tree.children[1:]
        given = arguments[0].children if arguments else []
        if name not in ("has", "size") or len(given) != 1:
            problem = f"{name}() is not computed; has(FIELD) and size(LIST) are"
            raise refused(tree, problem)
        inner = inside(given[0])
        path = names_of(inner)
        field = None if path is None else self._field(inner, path, listed=True)
        if name == "size" and not isinstance(field, Size):
            raise refused(tree, "size() is computed of item.categories and item.tags")
        if field is None or isinstance(field, Now):
            raise refused(tree, "has() needs a field, such as item.attributes.price")
        return field if name == "size" else Present(field)

    def _ident(self, tree: Any, depth: int) -> Node:
        return self._field(tree, (str(tree.children[0]),), listed=False)

    def _member_dot(self, tree: Any, depth: int) -> Node:
        path = names_of(tree)
        if path is None:
            raise refused(tree, "fields are those of `item`, `request` and `user` alone")
        return self._field(tree, path, listed=False)

    _member_index = _member_dot

    def _field(
        self, tree: Any, path: tuple[str, ...], *, listed: bool
    ) -> ItemField | RequestField | Size | Now:
        root, *rest = path
        if path == ("now_ms",):
            return Now()
        if root == "user" and len(rest) == 1:
            return RequestField(f"user.{rest[0]}")
        if root == "user":
            raise refused(tree, "write user.NAME, of an attribute of who asks")
        if root not in FREE:
            raise unknown(tree, root, ("item", "request", "user", "now_ms"))
        free = FREE[root]
        is_free = len(rest) == 2 and rest[0] == free
        if len(rest) != 1 and not is_free:
            problem = f"write {root}.FIELD or {root}.{free}.NAME"
            raise refused(tree, problem)
        if not is_free and rest[0] not in _LABELS[root]:
            raise unknown(tree, rest[0], (*_LABELS[root], f"{free}.NAME"), of=root)
        if root == "item" and rest[0] in LIST_FIELDS:
            if not listed:
                raise refused(tree, f"item.{rest[0]} is a list: write 'a' in item.{rest[0]}")
            return Size(rest[0])
        field = ".".join(rest)
        return ItemField(field) if root == "item" else RequestField(field)
