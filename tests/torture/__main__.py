"""The command: ``python -m tests.torture --minutes 30 --seed 7 --json OUT``.

It ends with status 1 where anything is off, and leaves data and logs then. SIGTERM ends the faults
early: what has happened by then is compared.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import orjson

from benchmarks.environment import environment, parser
from deploy.kafka.node import KafkaNode
from tests.redis_server import RedisServer
from tests.torture.run import Outcome, Torture, torture

EACH_MINUTE: Final = 100 / 30
"""Of each fault: a hundred in half an hour."""
PACKAGES: Final = ("confluent-kafka", "faust-streaming", "numba", "numpy", "redis")


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--minutes", type=float, default=5.0, help="that faults take (5)")
    options.add_argument("--each", type=float, help="of each fault; by default 100 in 30 minutes")
    options.add_argument("--folder", type=Path, help="for data and logs; kept")
    given = options.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())  # outages are no news here
    n_each = EACH_MINUTE * given.minutes if given.each is None else given.each
    what = Torture(seed=given.seed, n_each=n_each, total_s=60 * given.minutes)
    say(f"seed {given.seed}, {given.minutes:g} minutes")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="torture-"))
    say(f"data and logs in {folder}")
    kafka, redis = KafkaNode(folder / "kafka"), RedisServer(folder / "redis", durable=True)
    try:
        kafka.start()
        redis.start()
        outcome = torture(what, folder, kafka, redis, say=say)
    finally:
        kafka.stop()
        redis.stop()
    result = report(what, outcome)
    text = orjson.dumps(result, option=orjson.OPT_INDENT_2)
    if given.json is not None:
        given.json.write_bytes(text)
    for line in outcome.differing:
        print(f"  {line}", file=sys.stderr)
    say(f"seed {given.seed}: {sum(outcome.faults.values())} faults, {result['result']}")
    if outcome.differing:
        return 1
    if given.folder is None:
        shutil.rmtree(folder)
    return 0


def report(what: Torture, outcome: Outcome) -> dict[str, Any]:
    """All there is to know of a run."""
    return {
        **asdict(what),
        "environment": environment(*PACKAGES),
        "seconds": round(outcome.seconds, 1),
        "commits_meanwhile": outcome.n_commits,
        "faults": dict(outcome.faults),
        "sent": outcome.ledger.by_kind(),
        "processes_that_ended_by_themselves": dict(outcome.ended),
        "compared": [
            {"what": each.what, "wanted": each.wanted, "found": each.found, "holds": each.holds}
            for each in outcome.checks
        ],
        "result": "something is off" if outcome.differing else "nothing is off",
        "off": outcome.differing,
    }


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
