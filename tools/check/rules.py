"""Our own checks of the tree: what no linter knows. Each returns its findings as `file:line: text`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FILE = 420  # lines; a longer one has more than one reason to change
PRODUCT = ("cluster_scripts/", "monitoring/", "training/")
KNOWS_THE_LOCAL_CLOUD = ("cluster_scripts/cli/cloud.py",)
# ami/bin/fetch_toolkit.py runs on a machine that has no toolkit yet: it is what brings one
MAY_IMPORT_BOTO3 = ("cluster_scripts/backends/aws/", "infra/local_cloud/", "ami/bin/fetch_toolkit.py", "tests/")
TEXT = {".py", ".md", ".toml", ".txt", ".in", ".json", ".yaml", ".yml", ".sh", ".service", ".cc", ".lock", ""}


def tracked() -> list[str]:
    """The files that git tracks or would add, sorted."""
    argv = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    out = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(f for f in out.splitlines() if (ROOT / f).is_file())


def _lines(files: Iterable[str]) -> Iterator[tuple[str, int, str]]:
    for file in files:
        if Path(file).suffix in TEXT:
            for number, line in enumerate((ROOT / file).read_text(errors="replace").splitlines(), 1):
                yield file, number, line


def one_code_path(files: list[str]) -> list[str]:
    """Product code never knows that a local cloud exists."""
    pattern = re.compile(r"\bmoto\b|local.cloud|127\.0\.0\.1|AWS_ENDPOINT_URL", re.IGNORECASE)
    product = [
        f
        for f in files
        if f.startswith(PRODUCT) and f.endswith(".py") and f not in KNOWS_THE_LOCAL_CLOUD and "/cli/main.py" not in f
    ]
    return [
        f"{f}:{n}: product code names the local cloud: {line.strip()}"
        for f, n, line in _lines(product)
        if pattern.search(line)
    ]


def boto3_in_its_place(files: list[str]) -> list[str]:
    """AWS is called from the adapter and from the local cloud only."""
    pattern = re.compile(r"^\s*(import|from)\s+(boto3|botocore)\b")
    others = [f for f in files if f.endswith(".py") and not f.startswith(MAY_IMPORT_BOTO3)]
    return [
        f"{f}:{n}: boto3 outside backends/aws: {line.strip()}" for f, n, line in _lines(others) if pattern.search(line)
    ]


def short_files(files: list[str]) -> list[str]:
    """Python files stay short enough to be read in one sitting."""
    found = []
    for file in files:
        if file.endswith(".py"):
            count = (ROOT / file).read_text().count("\n")
            if count > LONGEST_FILE:
                found.append(f"{file}:{count}: {count} lines, {LONGEST_FILE} are allowed: split it by reason to change")
    return found


def no_leaks(files: list[str]) -> list[str]:
    """No path of a developer's machine, no package mirror, no key in what is committed."""
    pattern = re.compile(
        r"/work/(main|shared)|/root/\.(pyenv|cache|local|npm|ssh)|--index-url|--extra-index-url|\bregistry\.npmjs\.org|files\.pythonhosted|"
        r"AKIA(?![0-9A-Z]*EXAMPLE)[0-9A-Z]{16}|BEGIN (RSA |OPENSSH |EC )?PRIVATE KEY"
    )
    own = ("tools/check/rules.py", "tests/unit/tools/test_rules.py")  # these name what they look for
    return [
        f"{f}:{n}: must not be committed: {line.strip()[:100]}"
        for f, n, line in _lines(
            f for f in files if f not in own and not f.startswith("tests/unit/cluster_scripts/cli/")
        )
        if pattern.search(line)
    ]


def no_merge_marks(files: list[str]) -> list[str]:
    """No file holds both sides of a merge."""
    pattern = re.compile(r"^(<<<<<<<|>>>>>>>) ")
    return [f"{f}:{n}: a merge that was not finished: {line}" for f, n, line in _lines(files) if pattern.search(line)]


def links(files: list[str]) -> list[str]:
    """Every relative link in a document leads to a file."""
    pattern = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
    found = []
    for file, number, line in _lines(f for f in files if f.endswith(".md")):
        for target in pattern.findall(line):
            if not ((ROOT / file).parent / target).exists():
                found.append(f"{file}:{number}: dead link: {target}")
    return found


def hashed_locks(files: list[str]) -> list[str]:
    """Every lock pins every requirement by hash."""
    found = []
    for file in files:
        if file.startswith("requirements/") and file.endswith(".txt"):
            text = (ROOT / file).read_text()
            pins, hashed = (
                len(re.findall(r"^[a-z0-9].*==", text, re.M)),
                len(re.findall(r"^[a-z0-9].*\\\n +--hash", text, re.M)),
            )
            if pins != hashed or not pins:
                found.append(f"{file}:1: {pins} pins, {hashed} with hashes")
    return found


def unit_files(files: list[str]) -> list[str]:
    """`systemd-analyze verify` accepts every unit that the image ships."""
    units = [str(ROOT / f) for f in files if f.startswith("ami/") and f.endswith((".service", ".socket", ".timer"))]
    if not units:
        return ["ami:0: no unit file found"]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    # what it says of programs that only the image has is no fault of the unit
    said = [line for line in done.stderr.splitlines() if line.strip() and "is not executable: No such file" not in line]
    ours = [line for line in said if "dure-" in line]
    return [f"ami:0: systemd-analyze: {line}" for line in ours]


RULES = (one_code_path, boto3_in_its_place, short_files, no_leaks, no_merge_marks, links, hashed_locks, unit_files)
