"""Is every sample in the store, once, whatever fails? `make faults`

    make faults                                          every case, 200 nodes, about 25 minutes
    make faults ARGS="database-500 network-cut"          only these
    make faults ARGS=--docs                              every case, and the table of docs/faults.md anew
    make faults ARGS=--list                              what there is

Real Mosquitto, InfluxDB, VictoriaMetrics and `thermogate collector`; the fleet is `thermogate simulate`.
Prints the table of docs/faults.md and, as the last line, one JSON object. Exit status 1 when a case did not
pass.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from benchmarks.faults import run  # noqa: E402
from benchmarks.faults.cases import CASES  # noqa: E402
from benchmarks.faults.plan import FULL, SHORT  # noqa: E402
from benchmarks.faults.skip import SkippedError  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs" / "faults.md"
MARKS = ("<!-- begin -->", "<!-- end -->")


def main() -> int:
    """Run the cases one after the other."""
    args = _arguments()
    if args.list:
        print("\n".join(f"{case.name:27} {case.what}" for case in CASES))
        return 0
    plan = SHORT if args.short else FULL
    plan = plan._replace(nodes=args.nodes or plan.nodes, cut_s=args.cut or plan.cut_s)
    folder = Path(args.keep or tempfile.mkdtemp(prefix="thermogate-faults-"))
    results, rows = [], []
    for case in (one for one in CASES if not args.cases or one.name in args.cases):
        try:
            results.append(run.run(case, plan, folder / case.name))
            rows.append(results[-1].json())
            print(run.sentence(results[-1]), flush=True)
        except SkippedError as err:
            rows.append({"name": case.name, "skipped": str(err)})
            print(f"{case.name}: skipped: {err}", flush=True)
        except SystemExit as err:
            rows.append({"name": case.name, "failed": str(err)})
            print(f"{case.name}: FAILED: {err}", flush=True)
        if not args.keep:
            shutil.rmtree(folder / case.name, ignore_errors=True)
    table = run.table(results, plan.nodes)
    print("\n" + table)
    if args.docs:
        _write(table)
    print(json.dumps({"nodes": plan.nodes, "cases": rows}))
    passed = all(result.passed for result in results) and not any("failed" in row for row in rows)
    return 0 if results and passed else 1


def _write(table: str) -> None:
    """Between the marks in docs/faults.md."""
    text = DOCS.read_text(encoding="utf-8")
    before, begin, rest = text.partition(MARKS[0] + "\n")
    _, end, after = rest.partition(MARKS[1])
    DOCS.write_text(f"{before}{begin}{table}\n{end}{after}", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [case.name for case in CASES]
    parser.add_argument("cases", nargs="*", metavar="CASE", help="default: all")
    parser.add_argument("--nodes", type=int, help=f"default: {FULL.nodes}")
    parser.add_argument("--cut", type=float, metavar="S", help="seconds for which the network is cut")
    parser.add_argument("--short", action="store_true", help="as in the tests: seconds a case, shorter waits")
    parser.add_argument("--keep", metavar="DIR", help="leave logs and what was generated there")
    parser.add_argument("--docs", action="store_true", help="put the table into docs/faults.md")
    parser.add_argument("--list", action="store_true", help="name the cases")
    args = parser.parse_args()
    if unknown := set(args.cases) - set(names):
        parser.error(f"no case {', '.join(sorted(unknown))}: --list names them")
    if args.docs and args.cases:
        parser.error("--docs is for a run of every case")
    return args


if __name__ == "__main__":
    sys.exit(main())
