"""The demo's end: what was made, how long each step took, and the same on AWS with its price."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.config import catalog
from infra.config.schema import ClusterFile


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Writes summary.json, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(summary, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def steps_table(steps: list[dict[str, Any]]) -> str:
    """A line a step, with its seconds and the sum."""
    rows = [f"  {step['seconds']:>7.1f} s  {step['name']}" for step in steps]
    total = sum(step["seconds"] for step in steps)
    return "\n".join([*rows, f"  {total:>7.1f} s  in all"])


def price_lines(cluster: ClusterFile, nodes: int) -> list[str]:
    """What the same cluster costs an hour on AWS, by the dated table in infra/config/catalog.json."""
    queue = cluster.queues[0]
    instance_type = queue.instance_types[0] if hasattr(queue, "instance_types") else queue.instance_type
    node = catalog.price_per_hour(instance_type, cluster.region)
    head = catalog.price_per_hour(cluster.head.instance_type, cluster.region)
    lines = []
    if node is not None:
        lines.append(f"{nodes} x {instance_type}: {nodes * node:.2f} USD an hour, only while jobs run")
    if head is not None:
        lines.append(f"head {cluster.head.instance_type}: {head:.2f} USD an hour, as long as the cluster stands")
    return lines


def on_aws(lines: list[str]) -> str:
    """The same main job on AWS, as commands."""
    prices = "\n".join(f"  #   {line}" for line in lines)
    return f"""The same on AWS, with your credentials (clusters/kogpt2-p3dn.yaml: 8 nodes, the talk's cluster):

  .venv/bin/dure check clusters/kogpt2-p3dn.yaml
  node_modules/.bin/cdk bootstrap && node_modules/.bin/cdk deploy --all -c cluster=clusters/kogpt2-p3dn.yaml
  bash runs/kogpt2-8xp3dn.sh
{prices}

and this deletes everything again:

  .venv/bin/dure down clusters/kogpt2-p3dn.yaml --delete-data"""


def for_a_person(summary: dict[str, Any], cluster: ClusterFile, *, nodes: int) -> str:
    """The end of the demo: the sentence, the two probabilities, figures, times, and the way to AWS."""
    loss = summary["loss"]
    scored = [f"  log p = {one['log_probability']:8.1f}   {one['text']}" for one in summary["probabilities"]]
    lines = [
        f"\nThe model says, after “{summary['prompt']}”:\n\n  {summary['sentence']}\n",
        *scored,
        f"\n  loss {loss['first']:.2f} -> {loss['last']:.2f}, {summary['records_per_second']:.1f} records/s",
        f"  held-out text: {summary['heldout_bits_per_byte']:.3f} bits per byte; "
        f"a unigram model of the same tokens: {summary['unigram_bits_per_byte']:.3f}",
        f"  nodes: {summary['nodes_launched']} launched, {summary['nodes_terminated']} terminated; "
        f"jobs {', '.join(summary['job_ids'])}\n",
        steps_table(summary["steps"]),
        "",
        on_aws(price_lines(cluster, nodes)),
    ]
    return "\n".join(lines)
