"""python -m benchmarks.arms.twin_batches TOKENS OUT SIZE: what a twin of a run of training.pretrain needs.

SIZE is JSON: the model's sizes, batch, steps, seed, evaluate_tokens. OUT gets the initial weights (weights.safetensors,
transformers' names), the global batches of all steps and the held-out windows (.npy). Prints RESULT with the bytes of
the held-out text and the vocabulary.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mxnet as mx
import numpy as np

from training import safetensors
from training.corpus import manifest
from training.dataset.stream import BatchStream, Sealed
from training.evaluation import held_out
from training.model import folder
from training.model.config import ModelConfig
from training.model.network import build, named_parameters


def main() -> None:
    """Writes OUT."""
    tokens, out, size = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    corpus = manifest.read(tokens)
    config = ModelConfig(size["layers"], size["units"], size["heads"], size["sequence"], corpus.header.vocabulary)
    network = build(config, seed=size["seed"], context=mx.cpu())
    weights = {name: parameter.data().asnumpy() for name, parameter in named_parameters(network).items()}
    safetensors.save(out / "weights.safetensors", folder.to_hugging_face(weights, config), metadata={})
    stream = BatchStream(
        tokens,
        length=config.sequence,
        global_batch=size["batch"],
        seed=size["seed"],
        rank=0,
        size=1,
        look=lambda: Sealed(len(corpus.shards), len(corpus.generations)),
    )
    stream.seek(None)
    batches = []
    for _ in range(size["steps"]):
        batches.append(stream.read().astype(np.uint16))
        stream.advance()
    np.save(out / "batches.npy", np.stack(batches))
    shards = corpus.of_generation(len(corpus.generations), split="held-out")
    data = held_out(tokens, corpus.header, shards, length=config.sequence, limit=size["evaluate_tokens"])
    assert data is not None
    np.save(out / "inputs.npy", data.inputs)
    np.save(out / "targets.npy", data.targets)
    figures = {"bytes": data.text_bytes, "tokens": data.tokens, "unigram": data.unigram_bits / data.text_bytes}
    print("RESULT", json.dumps({**figures, "parameters": config.parameters}))


if __name__ == "__main__":
    main()
