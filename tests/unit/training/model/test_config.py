"""Sizes: the talk's own numbers."""

from __future__ import annotations

import pytest

from training.errors import ModelError, SettingsError
from training.model.config import PRESETS, ModelConfig, from_hugging_face, preset


def test_the_talks_model() -> None:
    model = PRESETS["kogpt2"]
    assert (model.layers, model.units, model.heads, model.sequence, model.vocabulary) == (12, 768, 12, 1024, 50_000)
    assert model.parameters == 124_242_432
    assert model.flops_per_record / 1e12 == pytest.approx(0.874, abs=5e-4)


@pytest.mark.parametrize(("name", "millions"), [("medium", 354.5), ("large", 773.7)])
def test_larger_ones(name: str, millions: float) -> None:
    assert PRESETS[name].parameters / 1e6 == pytest.approx(millions, abs=0.2)


def test_every_problem_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        ModelConfig(layers=0, units=30, heads=4, sequence=8, vocabulary=-1, dropout=2)
    for part in ("layers is 0", "vocabulary is -1", "dropout is 2"):
        assert part in str(caught.value)
    with pytest.raises(SettingsError, match="30 units cannot be divided among 4 heads"):
        preset("nano", units=30)
    with pytest.raises(SettingsError, match="choose one of nano"):
        preset("giant")


def test_round_trip_through_transformers_configuration() -> None:
    model = PRESETS["tiny"]
    assert from_hugging_face(model.to_hugging_face(begin_id=0, end_id=1, pad_id=2)) == model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_function": "gelu_new"}, "gelu_new"),
        ({"model_type": "llama"}, "llama"),
        ({"n_inner": 5}, "n_inner is 5"),
    ],
)
def test_other_networks_are_refused(change: dict[str, object], message: str) -> None:
    values = PRESETS["nano"].to_hugging_face(begin_id=0, end_id=1, pad_id=2)
    with pytest.raises(ModelError, match=message):
        from_hugging_face({**values, **change})
    with pytest.raises(ModelError, match="is it a GPT-2"):
        from_hugging_face({"n_layer": 1})
