"""Long form: ``python -m tests.fuzz [--inputs N] [--seed N] [TARGET…]``; exit code 1 when something broke."""

from __future__ import annotations

import argparse
import sys

from tests.fuzz.engine import FuzzError, fuzz
from tests.fuzz.targets import TARGETS

PARSER_WEIGHT = 0.15
"""From this weight on a target is a parser and gets all inputs; below it are files and whole conversations."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="words of names; all by default")
    parser.add_argument(
        "--inputs", type=int, default=1_000_000, help="of each parser; of files and conversations fewer"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chosen = [t for t in TARGETS if not options.targets or any(word in t.name for word in options.targets)]
    if not chosen:
        print(f"no such target; there are: {', '.join(t.name for t in TARGETS)}", file=sys.stderr)
        return 2
    broken = False
    for target in chosen:
        try:
            share = 1.0 if target.weight >= PARSER_WEIGHT else target.weight
            outcome = fuzz(target, max(1, round(options.inputs * share)), options.seed)
        except FuzzError as error:
            broken = True
            print(f"BROKEN {error}", flush=True)
        else:
            print(
                f"{target.name:<16} {outcome.inputs:>9} inputs in {outcome.seconds:6.1f} s,"
                f" memory +{outcome.grown_bytes / 2**20:.1f} MiB",
                flush=True,
            )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
