"""The command ``streamer compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from streamer.commands.screen import output


def compare(
    a: Annotated[Path, typer.Argument(help="A result of `streamer replay --json`.")],
    b: Annotated[Path, typer.Argument(help="Another one over the same log.")],
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="recall@10, precision@10, ndcg@10, graded_ndcg@10, mrr, auc, log_loss, recalled,"
            " rmse, mae; default: all that both have of the same events.",
        ),
    ] = None,
    model_a: Annotated[
        str | None, typer.Option("--model-a", help="Which of A's models, where it has several.")
    ] = None,
    model_b: Annotated[
        str | None, typer.Option("--model-b", help="Which of B's models, where it has several.")
    ] = None,
    resamples: Annotated[
        int, typer.Option("--resamples", min=100, max=1_000_000, help="Of the bootstrap.")
    ] = 2_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the comparisons as JSON.")] = False,
) -> None:
    """Say whether B's model is better than A's on the same events, or whether it is chance."""
    from streamer.replay import compare as comparing
    from streamer.replay.result import read_result

    first, second = read_result(a), read_result(b)
    comparing.check_comparable(first, second)
    found = [
        comparing.compare(
            first, second, metric=metric, models=pair, n_resamples=resamples, seed=seed
        )
        for pair in comparing.pairs_to_compare(first, second, model_a, model_b)
        for metric in metrics or comparing.comparable_metrics(first, second, pair)
    ]
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    for each in found:
        output.print(each.verdict, highlight=False, markup=False, soft_wrap=True)
