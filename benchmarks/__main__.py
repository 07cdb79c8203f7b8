"""python -m benchmarks [NAME ...]: runs every benchmark, or those named, one after the other.

The last line of each, one JSON object, goes to out/bench/NAME.json; its whole output beside it as NAME.log.
Exit codes: 0 every claim holds; 1 one does not, or its benchmark failed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.support import ROOT

OUT = ROOT / "out/bench"
NOT_BENCHMARKS = {
    "__init__",
    "__main__",
    "support",
    "training_support",
    "training_arms",
    "training_network",
    "training_timeline",
}
LAST = {"training_ablation"}  # made of the others' results


def names() -> list[str]:
    """Every benchmark of this folder, sorted, those that gather the others' results behind them."""
    found = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted((name for name in found if name not in NOT_BENCHMARKS), key=lambda name: (name in LAST, name))


def run(name: str) -> dict[str, object] | None:
    """Runs one benchmark; its result, or None where it printed none."""
    OUT.mkdir(parents=True, exist_ok=True)
    log = OUT / f"{name}.log"
    with log.open("w") as out:
        argv = [sys.executable, "-m", f"benchmarks.{name}"]
        subprocess.run(argv, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, check=False)
    lines = log.read_text(errors="replace").splitlines()
    try:
        result = json.loads(lines[-1])
    except (IndexError, ValueError):
        return None
    if not isinstance(result, dict) or "holds" not in result:
        return None
    temporary = OUT / f"{name}.json.part"
    temporary.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n")
    temporary.replace(OUT / f"{name}.json")
    return result


def main() -> int:
    """See the module's docstring."""
    asked = sys.argv[1:] or names()
    if unknown := set(asked) - set(names()):
        print(f"no benchmark is called {', '.join(sorted(unknown))}; there are: {', '.join(names())}", file=sys.stderr)
        return 2
    failed = 0
    for name in asked:
        started = time.monotonic()
        print(f"{name} ...", flush=True)
        result = run(name)
        seconds = time.monotonic() - started
        if result is None:
            failed += 1
            print(f"  FAILED after {seconds:.0f} s: see {OUT / (name + '.log')}")
            continue
        failed += not result["holds"]
        verdict = "holds" if result["holds"] else "DOES NOT HOLD"
        print(f"  {result['value']} {result['unit']} (goal: {result['goal']}; {verdict}) in {seconds:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
