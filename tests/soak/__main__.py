"""``python -m tests.soak [minutes=20] [seed=1] [out=build/soak] [...]``: a soak, its verdict, and its pictures.

Every option is a field of the plan (tests/soak/plan.py), or one of the server's (`io_threads=2 lane=off`). The exit
code is 1 when a line of the verdict fails.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

from pubsub import ConfigError
from tests.soak.plan import Plan, options_from
from tests.soak.programs import DiedError
from tests.soak.running import Outcome, run
from tests.soak.samples import write_samples
from tests.soak.verdict import Line, judge

_FAULTS_SHOWN = 20


def _document(outcome: Outcome, lines: Sequence[Line]) -> dict[str, Any]:
    return {
        "plan": outcome.plan.to_document(),
        "verdict": [{"name": line.name, "passed": line.passed, "text": line.text} for line in lines],
        "without": outcome.without,
        "clients": outcome.counts,
        "departures": {
            f"{kind}: {cause}": count for (kind, cause), count in sorted(outcome.departures.matched.items())
        },
        "stats": outcome.stats,
        "faults": [*outcome.faults, *outcome.departures.faults, *outcome.logged],
    }


def _draw(plan: Plan, outcome: Outcome) -> None:
    try:
        from tests.soak.draw import draw
    except ImportError:
        print("no pictures: matplotlib is missing (make setup installs it)")
        return
    for file in draw(plan.out, outcome.samples):
        print(file)


def main(words: Sequence[str]) -> int:
    try:
        plan = options_from(words)
    except (ValueError, ConfigError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    print(f"soak: {plan.minutes:g} minutes, seed={plan.seed}, samples in {plan.out}", flush=True)
    try:
        outcome = run(plan, lambda text: print(text, flush=True))
    except DiedError as error:
        print(f"FAIL  died         {error}")
        return 1
    except KeyboardInterrupt:
        print("soak: interrupted, no verdict", file=sys.stderr)
        return 130  # as a shell has it
    lines = judge(outcome)
    document = _document(outcome, lines)
    (plan.out / "outcome.json").write_text(json.dumps(document, indent=1) + "\n")
    write_samples(plan.out / "samples.csv", outcome.samples)
    _draw(plan, outcome)
    for fault in document["faults"][:_FAULTS_SHOWN]:
        print(f"  {fault}")
    print(*lines, sep="\n")
    return int(any(line.passed is False for line in lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
