"""River models as text: what may be written, and that nothing else gets through."""

from __future__ import annotations

import pytest
from river import compose
from river import preprocessing as pre

from streamer_models.river_adapter.expressions import DEPTH_MAX, LENGTH_MAX, parse_model


def test_an_expression_makes_what_python_would_make() -> None:
    text = (
        "(compose.Select('a', 'b') | preprocessing.StandardScaler(with_std=False)"
        " + compose.Prefixer('raw_')) | ensemble.BaggingClassifier("
        "model=linear_model.LogisticRegression(optimizer=optim.Adam(lr=1e-2), loss=optim.losses"
        ".Log(weight_pos=2.0), intercept_lr=-0.5), n_models=3, seed=None)"
    )
    assert repr(parse_model(text)) == repr(
        (compose.Select("a", "b") | pre.StandardScaler(with_std=False) + compose.Prefixer("raw_"))
        | parse_model(text.rpartition(" | ")[2])
    )
    bagging = parse_model(text)["BaggingClassifier"]  # type: ignore[index]  # a pipeline
    assert bagging.n_models == 3
    assert bagging.model.intercept_lr.learning_rate == -0.5
    assert bagging.model.loss.weight_pos == 2.0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("__import__('os').system('true')", "__import__('os').system is not a class"),
        ("().__class__", "().__class__ is not allowed"),
        ("linear_model.LogisticRegression().__class__()", "is not a class of river"),
        ("linear_model.LogisticRegression.mro()", "linear_model.LogisticRegression.mro is not"),
        ("linear_model.__builtins__", "linear_model.__builtins__ is not allowed"),
        ("linear_model.base.GLM()", "linear_model.base.GLM is not"),
        ("linear_model.log_reg.LogisticRegression()", "linear_model.log_reg.LogisticRegression is"),
        ("optim.losses.np.load('x')", "optim.losses.np.load is not"),
        ("datasets.Phishing()", "datasets.Phishing is not"),
        ("stream.Cache('/tmp')", "stream.Cache is not"),
        ("compat.River2SKLRegressor(1)", "compat.River2SKLRegressor is not"),
        ("open('x')", "open is not a class"),
        ("compose.pure_inference_mode()", "compose.pure_inference_mode is not"),
        ("compose.FuncTransformer(lambda x: x)", "lambda x: x is not allowed"),
        ("compose.FuncTransformer(print)", "print is not allowed"),
        ("[linear_model.LogisticRegression() for _ in 'ab']", "for _ in 'ab'] is not allowed"),
        ("linear_model.LogisticRegression(**{'l2': 1})", "**{'l2': 1} is not allowed"),
        ("linear_model.LogisticRegression(*[1])", "*[1] is not allowed"),
        ("linear_model.LogisticRegression(l2=10**9)", "10 ** 9 is not allowed"),
        ("linear_model.LogisticRegression(l2=-'a')", "-'a' is not allowed"),
        ("linear_model.LogisticRegression(l2=f'{1}')", "f'{1}' is not allowed"),
        ("linear_model.LogisticRegression(l2=b'1')", "b'1' is not allowed"),
        ("linear_model.LogisticRegression(l2={[1]: 2})", "{[1]: 2} is not allowed"),
        ("linear_model.LogisticRegression", "linear_model.LogisticRegression is not allowed"),
        ("linear_model.LogisticRegression() | 3", "stand between models only"),
        ("1 + 2", "1 + 2: | and + stand between models only"),
        ("optim.SGD(0.1)", "is no model, but of type SGD"),
        ("'a'", "is no model, but of type str"),
        ("linear_model.LogisticRegression(l3=1)", "river refuses linear_model.LogisticRegression"),
        ("linear_model.LogisticRegression() | preprocessing.StandardScaler(", "is no expression"),
        ("import os", "is no expression"),
        ("", "is no expression"),
        ("\0", "is no expression"),
        ("a" * (LENGTH_MAX + 1), f"{LENGTH_MAX + 1} characters"),
        ("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1), f"more than {DEPTH_MAX} expressions"),
    ],
)
def test_everything_else_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the text is compared below
        parse_model(text)
    assert named in str(refused.value)
