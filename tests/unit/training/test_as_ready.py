"""Groups of gradients are filled as the backward pass is through with them."""

from __future__ import annotations

from training.parameters import as_ready


def test_the_keys_sort_from_the_last_norm_to_the_embeddings_and_lose_nothing() -> None:
    named = {
        name: object()
        for name in (
            "embedding",
            "positions",
            "norm_beta",
            *(f"block{number}_up_weight" for number in range(12)),
        )
    }
    found = as_ready(named)
    assert list(found) == sorted(found)
    names = [key.split("_", 1)[1] for key in found]
    blocks = [f"block{number}_up_weight" for number in range(11, -1, -1)]
    assert names == ["norm_beta", *blocks, "embedding", "positions"]
    assert all(found[key] is named[name] for key, name in zip(found, names, strict=True))
