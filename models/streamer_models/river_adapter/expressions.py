"""river models written as text, read without running the text."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from typing import Any, Final

from river import base

MODULES: Final = frozenset(
    {
        "anomaly",
        "compose",
        "covariance",
        "drift",
        "drift.binary",
        "dummy",
        "ensemble",
        "facto",
        "feature_extraction",
        "feature_selection",
        "forest",
        "imblearn",
        "linear_model",
        "metrics",
        "model_selection",
        "multiclass",
        "naive_bayes",
        "neighbors",
        "optim",
        "optim.initializers",
        "optim.losses",
        "optim.schedulers",
        "preprocessing",
        "proba",
        "reco",
        "rules",
        "stats",
        "tree",
        "tree.splitter",
    }
)
"""river's modules that models are made of; not those that read files, or wrap other libraries."""

LENGTH_MAX: Final = 4_000
"""Characters of an expression."""
DEPTH_MAX: Final = 40
"""Expressions inside expressions."""


def parse_model(expression: str) -> base.Base:
    """Make the river model that an expression describes.

    The text is parsed and walked, never run. It may contain classes of river's own modules, with
    the names river's documentation gives them, called with positional and named arguments;
    numbers, strings, ``True``, ``False``, ``None``, lists, tuples and dicts; and ``|`` and ``+``
    between models.

    Parameters
    ----------
    expression
        At most ``LENGTH_MAX`` characters.

    Raises
    ------
    ValueError
        Where a part is something else (it is named), or river refuses an argument.

    Examples
    --------
    >>> text = "preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.05))"
    >>> print(parse_model(text))
    StandardScaler | LogisticRegression
    >>> parse_model("linear_model.LogisticRegression(l2=__import__('os').getpid())")
    Traceback (most recent call last):
    ...
    ValueError: __import__('os').getpid is not a class of river that models are made of: ...
    """
    if len(expression) > LENGTH_MAX:
        raise ValueError(
            f"the model has {len(expression)} characters; at most {LENGTH_MAX} are read"
        )
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"{expression!r} is no expression: {error}") from error
    model = _value(tree.body, DEPTH_MAX)
    if not isinstance(model, base.Estimator):
        raise ValueError(f"{_text(tree.body)} is no model, but of type {type(model).__name__}")
    return model


def unseeded(model: base.Base) -> list[str]:
    """Names of the parts of a model that draw other numbers in every run: their seed is None.

    Examples
    --------
    >>> unseeded(parse_model("facto.FMClassifier()")), unseeded(parse_model("tree.SGTRegressor()"))
    (['FMClassifier', 'Normal'], [])
    """
    return [
        type(part).__name__
        for part in _parts(model)
        if "seed" in inspect.signature(type(part)).parameters
        and getattr(part, "seed", None) is None
    ]


def _parts(part: object) -> Iterator[base.Base]:
    """A model and all models, optimizers and so on that it was made with."""
    if isinstance(part, base.Base):
        yield part
        part = [getattr(part, name, None) for name in inspect.signature(type(part)).parameters]
    if isinstance(part, dict):
        part = list(part.values())
    if isinstance(part, list | tuple):
        for inner in part:
            yield from _parts(inner)


def _value(node: ast.expr, depth: int) -> Any:
    if depth == 0:
        raise ValueError(f"more than {DEPTH_MAX} expressions inside one another")
    depth -= 1
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items):
            return [_value(item, depth) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item, depth) for item in items)
        case ast.Dict(keys=keys, values=values):
            names = [key.value for key in keys if isinstance(key, ast.Constant)]
            if len(names) == len(values):  # no key is ** or made of anything
                return {
                    name: _value(value, depth) for name, value in zip(names, values, strict=True)
                }
        case ast.BinOp(left=left, op=ast.BitOr() | ast.Add() as operator, right=right):
            return _joined(_value(left, depth), operator, _value(right, depth), node)
        case ast.Call(func=func, args=args, keywords=keywords):
            return _called(func, args, keywords, depth)
    raise ValueError(
        f"{_text(node)} is not allowed in a model: it is written with river's classes, called;"
        " numbers, strings, lists, tuples and dicts; and | and + between models"
    )


def _called(
    func: ast.expr, args: list[ast.expr], keywords: list[ast.keyword], depth: int
) -> base.Base:
    made_by = _river_class(func)
    positional = [_value(arg, depth) for arg in args]
    named = {}
    for keyword in keywords:
        if keyword.arg is None:
            raise ValueError(f"**{_text(keyword.value)} is not allowed: name each argument")
        named[keyword.arg] = _value(keyword.value, depth)
    try:
        made: base.Base = made_by(*positional, **named)
    except Exception as error:  # whatever a constructor of river's raises about its arguments
        raise ValueError(f"river refuses {_text(func)}(...): {error}") from error
    return made


def _river_class(node: ast.expr) -> type[base.Base]:
    """The class that a dotted name means; a look-up in two lists, never along attributes."""
    name = _dotted(node)
    module, _, attribute = name.rpartition(".")
    if module in MODULES:
        found = importlib.import_module(f"river.{module}")
        if attribute in found.__all__:
            found_class = getattr(found, attribute, None)
            if isinstance(found_class, type) and issubclass(found_class, base.Base):
                return found_class
    raise ValueError(
        f"{_text(node)} is not a class of river that models are made of: write"
        f" module.Class, the module being one of {', '.join(sorted(MODULES))}"
    )


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{_dotted(value)}.{name}"
    return ""


def _joined(left: Any, operator: ast.operator, right: Any, node: ast.expr) -> Any:
    if not all(isinstance(side, base.Estimator) for side in (left, right)):
        raise ValueError(f"{_text(node)}: | and + stand between models only")
    try:
        return left | right if isinstance(operator, ast.BitOr) else left + right
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"river does not join {_text(node)}: {error}") from error


def _text(node: ast.expr) -> str:
    return ast.unparse(node)
