"""python -m benchmarks.training_step [--steps 8] [--runs 3]: a training step on a CPU, MXNet and ours against PyTorch.

The same GPT-2 (same initial weights, same batches), forward, backward, clipping and AdamW, as our trainer does it
with its C++ operators, with MXNet's built-in ones, and in PyTorch 2.13 (scaled_dot_product_attention, fused AdamW,
the loss in one operator). At two sizes, at one and at two threads, in turn. The losses of all three must agree.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.support import median, result
from benchmarks.training_support import TRAINER, Measured, alternate, environment, measure, peers

SIZES = {
    "4x256": {"layers": 4, "units": 256, "heads": 4, "sequence": 256, "vocabulary": 8000, "batch": 4},
    "6x512": {"layers": 6, "units": 512, "heads": 8, "sequence": 512, "vocabulary": 8000, "batch": 2},
}

PREPARE = """
import json, sys
import mxnet as mx, numpy as np
from training import safetensors
from training.model import folder
from training.model.config import ModelConfig
from training.model.network import build, named_parameters
from pathlib import Path
size, out = json.loads(sys.argv[1]), Path(sys.argv[2])
batch = size.pop("batch")
config = ModelConfig(**size)
network = build(config, seed=1, context=mx.cpu())
weights = {name: parameter.data().asnumpy() for name, parameter in named_parameters(network).items()}
safetensors.save(out, folder.to_hugging_face(weights, config), metadata={})
"""

OURS = """
import json, os, sys, time
import mxnet as mx, numpy as np
from training import native
from training.model.config import ModelConfig
from training.model.network import TokenLoss, build, decays, named_parameters
from training.optimizer import AdamW, squared_norm
def middle(values):
    return sorted(values[3:])[len(values[3:]) // 2]
size, steps = json.loads(sys.argv[1]), int(sys.argv[3])
batch = size.pop("batch")
config = ModelConfig(**size)
own = native.load(os.environ)
network = build(config, seed=1, context=mx.cpu(), native=own)
parameters = named_parameters(network)
for name, parameter in parameters.items():
    parameter.wd_mult = 1.0 if decays(name) else 0.0
losses = TokenLoss(network)
losses.hybridize(static_alloc=True, static_shape=True)
optimizer = AdamW(beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1, fused=False, native=own)
optimizer.set_learning_rate(1e-3)
trainer = mx.gluon.Trainer(parameters, optimizer, kvstore=None)
generator, seconds, cpu, found = np.random.default_rng(0), [], [], []
for step in range(1, steps + 4):
    tokens = generator.integers(0, config.vocabulary, (batch, config.sequence + 1)) ** 2 % config.vocabulary
    begun, used = time.perf_counter(), time.process_time()
    turned = np.ascontiguousarray(tokens.T)
    inputs, targets = (mx.nd.array(part, dtype="int32") for part in (turned[:-1], turned[1:]))
    with mx.autograd.record():
        loss = losses(inputs, targets).mean()
    loss.backward()
    found.append(float(loss.asscalar()))
    norm = squared_norm([parameter.grad() for parameter in parameters.values()], native=own) ** 0.5
    optimizer.step_number = step
    trainer.update(1 / min(1.0, 1 / norm))
    mx.nd.waitall()
    seconds.append(time.perf_counter() - begun)
    cpu.append(time.process_time() - used)
print("RESULT", json.dumps({"native": own, "seconds": middle(seconds), "cpu": middle(cpu), "losses": found}))
"""

# The same network in PyTorch, from the weights in argv[2]: `weights`, and `logits_of` for ids (batch, sequence)
TORCH_GPT = """
import json, sys, time
import numpy as np, torch
import torch.nn.functional as F
from safetensors.numpy import load_file
size = json.loads(sys.argv[1])
batch, heads, layers, units = size["batch"], size["heads"], size["layers"], size["units"]
weights = {}
for name, array in load_file(sys.argv[2]).items():
    name = name.removeprefix("transformer.")
    dense = array.ndim == 2 and "wte" not in name and "wpe" not in name
    weights[name] = torch.nn.Parameter(torch.tensor(array.T.copy() if dense else array))
def attention(x, h):
    q, k, v = F.linear(x, weights[h + "attn.c_attn.weight"], weights[h + "attn.c_attn.bias"]).split(units, dim=-1)
    q, k, v = (t.view(batch, -1, heads, units // heads).transpose(1, 2) for t in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, -1, units)
    return F.linear(mixed, weights[h + "attn.c_proj.weight"], weights[h + "attn.c_proj.bias"])
def norm(x, name):
    return F.layer_norm(x, (units,), weights[name + ".weight"], weights[name + ".bias"])
def logits_of(inputs):
    x = F.embedding(inputs, weights["wte.weight"]) + weights["wpe.weight"]
    for layer in range(layers):
        h = f"h.{layer}."
        x = x + attention(norm(x, h + "ln_1"), h)
        up = F.gelu(F.linear(norm(x, h + "ln_2"), weights[h + "mlp.c_fc.weight"], weights[h + "mlp.c_fc.bias"]))
        x = x + F.linear(up, weights[h + "mlp.c_proj.weight"], weights[h + "mlp.c_proj.bias"])
    return F.linear(norm(x, "ln_f"), weights["wte.weight"])
"""

THEIRS = (
    TORCH_GPT
    + """
steps = int(sys.argv[3])
def middle(values):
    return sorted(values[3:])[len(values[3:]) // 2]
def loss_of(inputs, targets):
    logits = logits_of(inputs)
    return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))
groups = [
    {"params": [p for p in weights.values() if (p.ndim > 1) == decay], "weight_decay": 0.1 * decay}
    for decay in (True, False)
]
optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, fused=True)
generator, seconds, cpu, found = np.random.default_rng(0), [], [], []
for step in range(1, steps + 4):
    tokens = generator.integers(0, size["vocabulary"], (batch, size["sequence"] + 1)) ** 2 % size["vocabulary"]
    begun, used = time.perf_counter(), time.process_time()
    tokens = torch.tensor(tokens)
    loss = loss_of(tokens[:, :-1], tokens[:, 1:])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    found.append(loss.item())
    torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
    optimizer.step()
    seconds.append(time.perf_counter() - begun)
    cpu.append(time.process_time() - used)
print("RESULT", json.dumps({"seconds": middle(seconds), "cpu": middle(cpu), "losses": found}))
"""
)


def parsed(done: Measured) -> dict[str, Any]:
    """What a measured program printed as its result."""
    line = next(line for line in done.output.splitlines() if line.startswith("RESULT "))
    values: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return values


def threads_environment(threads: int, **more: str) -> dict[str, str]:
    """As training.launch would set it."""
    return environment(OMP_NUM_THREADS=str(threads), OPENBLAS_CORETYPE="Haswell", **more)


def compare(
    size: dict[str, int], weights: Path, *, threads: int, steps: int, runs: int
) -> tuple[dict[str, float], dict[str, float], bool]:
    """Median seconds and CPU seconds of a step of each candidate, and whether their losses agree."""
    arguments = [json.dumps(size), str(weights), str(steps)]
    built_in = threads_environment(threads, DURE_NATIVE="0")
    candidates: dict[str, Callable[[], Measured]] = {
        "ours": partial(measure, [TRAINER, "-c", OURS, *arguments], env=threads_environment(threads)),
        "mxnet": partial(measure, [TRAINER, "-c", OURS, *arguments], env=built_in),
        "pytorch": partial(measure, [peers(), "-c", THEIRS, *arguments], env=threads_environment(threads)),
    }
    found = {name: [parsed(done) for done in dones] for name, dones in alternate(runs, **candidates).items()}
    losses = [[float(x) for x in results[0]["losses"]] for results in found.values()]
    agree = all(abs(a - b) < 2e-3 for other in losses[1:] for a, b in zip(losses[0], other, strict=True))
    wall, cpu = (
        {name: median([float(one[key]) for one in results]) for name, results in found.items()}
        for key in ("seconds", "cpu")
    )
    return wall, cpu, agree


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), default=list(SIZES))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    measure([TRAINER, "-m", "training.native.build"])
    table: dict[str, dict[str, float]] = {}
    agree = True
    with tempfile.TemporaryDirectory() as folder:
        for name in args.sizes:
            weights = Path(folder) / f"{name}.safetensors"
            measure([TRAINER, "-c", PREPARE, json.dumps(SIZES[name]), weights])
            for threads in args.threads:
                wall, cpu, same = compare(SIZES[name], weights, threads=threads, steps=args.steps, runs=args.runs)
                agree = agree and same
                table[f"{name}, {threads} threads"] = {
                    "ours": round(wall["pytorch"] / wall["ours"], 3),
                    "mxnet": round(wall["pytorch"] / wall["mxnet"], 3),
                    "ours_by_cpu": round(cpu["pytorch"] / cpu["ours"], 3),
                    "mxnet_by_cpu": round(cpu["pytorch"] / cpu["mxnet"], 3),
                    "pytorch_seconds": round(wall["pytorch"], 4),
                }
    print(json.dumps(table, indent=1), file=sys.stderr)
    worst = min(row["ours"] for row in table.values())
    return result(
        "training_step",
        worst,
        unit="x PyTorch's speed, the worst of two sizes at one and two threads",
        goal=">= 1.0, same losses",
        holds=worst >= 1 and agree and len(table) == 4,
        peers={"pytorch": 1.0, "mxnet_built_in": min(row["mxnet"] for row in table.values())},
        runs=args.runs,
        table=table,
        losses_agree=agree,
    )


if __name__ == "__main__":
    sys.exit(main())
