"""python -m benchmarks.training_transformers: a model folder in transformers' GPT-2, and back.

Makes models of two sizes with weights far from their initial values, exports them, compares the logits of MXNet, of
our numpy inference and of GPT2LMHeadModel on the same ids, saves the model again with transformers, imports that and
compares every bit.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.support import result
from benchmarks.training_support import TRAINER, environment, measure, peers

GOAL = 1e-4

OURS = """
import json, sys
from pathlib import Path
import mxnet as mx, numpy as np
from training import tokenizer
from training.model import folder
from training.model.config import ModelConfig
from training.model.inference import Inference
from training.model.network import build, named_parameters
out = Path(sys.argv[1])
word = lambda i, k: chr(0xAC00 + (i * k * 37) % 900) + chr(0xAC00 + (i + k) % 300)
lines = [" ".join(word(i, k) for k in range(1, 9)) for i in range(2000)]
(out / "text.txt").write_text("\\n".join(lines))
for layers, units, heads, sequence, vocabulary in ((3, 96, 6, 64, 1500), (6, 256, 8, 128, 1500)):
    name = f"{layers}x{units}"
    tokenizer.main(["--input", str(out / "text.txt"), "--output", str(out / "tok"), "--vocabulary", str(vocabulary)])
    config = ModelConfig(layers=layers, units=units, heads=heads, sequence=sequence, vocabulary=vocabulary)
    network = build(config, seed=1, context=mx.cpu())
    generator = np.random.default_rng(0)
    for key, parameter in sorted(named_parameters(network).items()):
        spread = 0.05 if key.endswith("weight") or key in ("embedding", "positions") else 0.3
        parameter.set_data(parameter.data() + mx.nd.array(generator.normal(0, spread, parameter.shape)))
    weights = {key: parameter.data().asnumpy() for key, parameter in named_parameters(network).items()}
    folder.write(out / name, weights, config=config, tokenizer=tokenizer.describe(out / "tok"), about={})
    tokens = generator.integers(0, vocabulary, sequence)
    logits = network(mx.nd.array(tokens[:, None], dtype="int32")).asnumpy()[:, 0]
    ours = Inference(config, folder.read(out / name)[1]).extend(tokens.tolist())
    np.savez(out / f"{name}.npz", tokens=tokens, logits=logits, inference=ours)
"""

THEIRS = """
import sys
from pathlib import Path
import numpy as np, torch
from transformers import GPT2LMHeadModel
out = Path(sys.argv[1])
for path in sorted(out.glob("*.npz")):
    data = np.load(path)
    model = GPT2LMHeadModel.from_pretrained(out / path.stem).eval()
    with torch.no_grad():
        logits = model(torch.tensor(data["tokens"])[None]).logits[0].numpy()
    for name in ("logits", "inference"):
        print("difference", path.stem, name, float(np.abs(logits - data[name]).max()))
    model.save_pretrained(out / f"{path.stem}-saved")
"""


def main() -> int:
    """Entry point."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        measure([TRAINER, "-c", OURS, out], env=environment())
        output = measure([peers(), "-c", THEIRS, out], env=environment(HF_HUB_OFFLINE="1")).output
        differences = [line.split() for line in output.splitlines() if line.startswith("difference")]
        identical = []
        for name in ("3x96", "6x256"):
            measure(
                [
                    TRAINER,
                    "-m",
                    "training.export",
                    "--from-transformers",
                    out / f"{name}-saved",
                    "--tokenizer",
                    out / "tok",
                    "--output",
                    out / f"{name}-back",
                ]
            )
            files = [(out / f"{name}{suffix}" / "model.safetensors").read_bytes() for suffix in ("", "-back")]
            identical.append(files[0] == files[1])
    worst = max(float(line[3]) for line in differences)
    print(json.dumps({" ".join(line[1:3]): float(line[3]) for line in differences}), file=sys.stderr)
    return result(
        "training_transformers",
        worst,
        unit="largest difference of a logit",
        goal=f"<= {GOAL}, and bit-identical after import",
        holds=worst <= GOAL and all(identical) and len(differences) == 4,
        peers={"transformers": worst},
        runs=1,
        imported_identical=all(identical),
    )


if __name__ == "__main__":
    sys.exit(main())
