"""python -m tools.check [NAME ...]: every check, or those named; all findings of all checks, then one verdict."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tools.check import rules

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv/bin"
TOOLKIT = [
    "app.py",
    "infra/config",
    "infra/constructs",
    "infra/stacks",
    "cluster_scripts",
    "monitoring",
    "ami",
    "tools",
    "benchmarks",
]
COMMANDS: dict[str, list[str]] = {
    "ruff": [str(BIN / "ruff"), "check", "--quiet", "."],
    "format": [str(BIN / "ruff"), "format", "--check", "--quiet", "."],
    "mypy": [str(BIN / "mypy"), "--exclude", "^benchmarks/arms/", *TOOLKIT],
    "mypy-local-cloud": [
        str(BIN / "mypy"),
        "--python-executable",
        str(ROOT / ".envs/local-cloud/bin/python"),
        "infra/local_cloud",
    ],
    "mypy-trainer": [
        str(BIN / "mypy"),
        "--python-executable",
        str(ROOT / ".envs/trainer/bin/python"),
        "training",
        "benchmarks/arms",
    ],
    "imports": [str(BIN / "lint-imports"), "--no-logo"],
}


def run_command(argv: list[str]) -> list[str]:
    """The lines that a failing command printed; none where it passed."""
    present = [a for a in argv[1:] if not a.endswith(".py") or (ROOT / a).exists()]
    done = subprocess.run([argv[0], *present], cwd=ROOT, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines() or ["failed without a word"] if done.returncode else []


def main() -> int:
    """Exit codes: 0 nothing found; 1 something found."""
    asked = set(sys.argv[1:])
    files = rules.tracked()
    bad = 0
    checks = {name: (lambda argv=argv: run_command(argv)) for name, argv in COMMANDS.items()} | {
        rule.__name__.replace("_", "-"): (lambda rule=rule: rule(files)) for rule in rules.RULES
    }
    if unknown := asked - set(checks):
        print(f"check: no check is called {', '.join(sorted(unknown))}; there are {', '.join(checks)}", file=sys.stderr)
        return 2
    for name, check in checks.items():
        if asked and name not in asked:
            continue
        started = time.monotonic()
        found = check()
        bad += bool(found)
        print(f"{'FAIL' if found else 'ok  '} {name} ({time.monotonic() - started:.1f} s)", flush=True)
        for line in found[:80]:
            print(f"     {line}")
    print("check: all passed" if not bad else f"check: {bad} of {len(asked or checks)} checks failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
