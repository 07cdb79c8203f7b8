"""`python -m benchmarks.synth_time [--runs 5]`: what our checks cost a synth, and whether two synths are the same.

Synthesizes clusters/kogpt2-p3dn.yaml in fresh processes, in turn: as app.py does, with the schema, all rules and
the layout checks (`value`: its time divided by the bare one's); and, as the peer, bare: the same stacks from a model
that was made without any validation. The median of each counts. The bytes of every two checked synths are compared.
Side effects: a temporary folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.support import ROOT, median, result

FILE = "clusters/kogpt2-p3dn.yaml"
GOAL = 1.3

CHECKED = "import sys, app; sys.exit(app.main())"
# Reads the same content, already known to be right, and builds the model without looking at it
BARE = f"""
import json, os, sys
from pathlib import Path
import aws_cdk as cdk
from infra.config import schema
from infra.stacks.assemble import assemble

def made(section, value):
    fields = {{}}
    for name, content in value.items():
        kind = KINDS.get((section, name))
        if kind is None:
            fields[name] = tuple(content) if isinstance(content, list) else content
        elif isinstance(content, list):
            fields[name] = tuple(made(kind, item) for item in content)
        else:
            fields[name] = made(kind, content)
    return section.model_construct(**fields)

KINDS = {{
    (schema.ClusterFile, "network"): schema.Network, (schema.ClusterFile, "head"): schema.Head,
    (schema.ClusterFile, "queues"): schema.Queue, (schema.ClusterFile, "storage"): schema.Storage,
    (schema.ClusterFile, "image"): schema.Image, (schema.ClusterFile, "monitoring"): schema.Monitoring,
    (schema.ClusterFile, "slurm"): schema.Slurm, (schema.Storage, "associations"): schema.Association,
}}
cluster = made(schema.ClusterFile, json.loads(Path(sys.argv[1]).read_text()))
app = cdk.App(analytics_reporting=False)
assemble(app, cluster, root=Path({str(ROOT)!r}), account=None)
app.synth()
"""


def synthesize(program: str, out: Path, *arguments: str) -> float:
    """Seconds of one synth in a process of its own."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "CDK_OUTDIR": str(out),
        "CDK_CONTEXT_JSON": json.dumps({"cluster": FILE}),
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1",
    }
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, env=environment, check=True)
    return time.perf_counter() - started


def digest(folder: Path) -> str:
    """One digest of every file that a synth wrote."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def main() -> int:
    """Measure, and print the result as one JSON line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=5)
    given = options.parse_args()
    from infra.config.loader import load_cluster

    checked: list[float] = []
    bare: list[float] = []
    digests: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="dure-synth-") as name:
        folder = Path(name)
        plain = folder / "plain.json"
        plain.write_text(load_cluster(ROOT / FILE).model_dump_json())
        synthesize(CHECKED, folder / "warm")
        for number in range(given.runs):
            bare.append(synthesize(BARE, folder / f"bare-{number}", str(plain)))
            checked.append(synthesize(CHECKED, folder / f"checked-{number}"))
            digests.add(digest(folder / f"checked-{number}"))
    ratio = median(checked) / median(bare)
    return result(
        "synth_time",
        ratio,
        unit="times a bare synth",
        goal=GOAL,
        holds=ratio <= GOAL and len(digests) == 1,
        peers={"bare synth of the same stacks, seconds": median(bare)},
        runs=given.runs,
        seconds=round(median(checked), 2),
        byte_identical=len(digests) == 1,
    )


if __name__ == "__main__":
    sys.exit(main())
