"""Run the benchmarks and print their rows."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
import traceback

from benchmarks.harness import Benchmark, Row, SkippedError, tell

MODULES = (
    "ack",
    "broker",
    "bus",
    "dashboard",
    "ingest",
    "leakage",
    "proofs",
    "proxy",
    "read",
    "reservoir",
    "rounds",
    "serial",
    "sha256d",
    "start",
    "summary",
    "virtual",
)
OURS = ("firmware_bridge", "reservoir", "tpf", "experiments", "benchmarks")


def load(module: str) -> list[Benchmark]:
    """Benchmarks of one file."""
    found: list[Benchmark] = importlib.import_module(f"benchmarks.bench_{module}").BENCHMARKS
    return found


def show(row: Row, as_json: bool) -> None:
    if as_json:
        print(json.dumps(row.to_json()), flush=True)
        return
    if row.skipped is not None:
        print(f"{row.name:<50} skipped: {row.skipped}", flush=True)
        return
    aim = "" if row.aim is None else f"  aim {row.aim:g}: {'met' if row.ratio >= row.aim else 'MISSED'}"
    print(
        f"{row.name:<50} {row.ours:>12,.4g} against {row.reference:>12,.4g} {row.unit:<12}"
        f" ratio {row.ratio:8.3g}{aim}",
        flush=True,
    )


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0 when every chosen benchmark ran, 1 when one broke, 2 for an unknown name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODULES)}; all by default")
    parser.add_argument("--heavy", action="store_true", help="also what takes long")
    parser.add_argument("--json", action="store_true", help="one JSON object per row")
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in MODULES]
    if unknown:
        tell(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(MODULES)}")
        return 2
    broken = False
    for module in options.names or MODULES:
        start = time.perf_counter()
        try:
            for benchmark in load(module):
                if benchmark.heavy and not options.heavy:
                    show(Row(benchmark.name, skipped="takes long; run with --heavy"), options.json)
                    continue
                for row in benchmark.run(options.heavy):
                    show(row, options.json)
        except SkippedError as reason:
            show(Row(module, skipped=str(reason)), options.json)
        except Exception as error:
            # one broken benchmark must not hide the rows of the others
            if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] not in OURS:
                missing = f"{error.name} is not installed: pip install 'asic-reservoir-lab[all]'"
                show(Row(module, skipped=missing), options.json)
                continue
            traceback.print_exc()
            show(Row(module, skipped="broke; see the traceback on stderr"), options.json)
            broken = True
        tell(f"  ({module}: {time.perf_counter() - start:.1f} s)")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
