"""Each word once: for which models that is allowed, and that the ids are SentencePiece's whatever the text."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.training.conftest import SYLLABLES, korean_lines
from training import native
from training.corpus import words
from training.corpus.sources import CHUNK_BYTES
from training.corpus.word_rules import works_by_words

LINES = [*korean_lines(400, seed=3), "ㅋㅋㅋ ㅠㅠ Great movie 100% (2018)...!! ★★★", "a ᄒ ᅡ ᆫ ＡＢ １ ｶﾞ ¨ ﷺ … x"] * 2
RULES = ("nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity")
# Whole words that come again, their pieces, what normalization joins, widens, drops or turns into spaces, and spaces
ATOMS = [
    *korean_lines(3, seed=3)[0].split(),
    *SYLLABLES[:12],
    *"ㅋㅠㄱㅏABcxyz019.,!?~()'\"★♥…¨´ﷺﬁﬀ①㎏½ªＡｂ１！ｶﾞﾊﾟがガ漢é한한각゙̈́😀👨‍👩‍👧",
    *("\u2581", "\u2581\u2581", "<s>", "</s>", "<unk>", "<0x41>", "\u200b", "\ufeff", "\u00ad", "\u3000", "\u00a0"),
    *("\t", "\r", "\n", "\x01", "\x7f", "\u2028", "\u1680", "\ufffd", "\u3164", "\u115f", " ", "  ", " ", " "),
]


def trained(lines: list[str] = LINES, **options: Any) -> bytes:
    """A small model."""
    model = io.BytesIO()
    defaults = {"model_type": "bpe", "vocab_size": 500, "character_coverage": 0.98, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, hard_vocab_limit=False, **{**defaults, **options}
    )
    return model.getvalue()


@pytest.mark.parametrize("rule", RULES)
def test_all_rules_of_the_tokenizer_program_work_by_words(rule: str) -> None:
    assert works_by_words(trained(normalization_rule_name=rule, byte_fallback=True))


@pytest.mark.parametrize(
    "options",
    [
        {"model_type": "unigram", "vocab_size": 300},
        {"user_defined_symbols": ["점 수"]},
        {"split_by_whitespace": False},
        {"remove_extra_whitespaces": False},
        {"add_dummy_prefix": False},
        {"treat_whitespace_as_suffix": True},
    ],
)
def test_other_models_do_not(options: dict[str, Any]) -> None:
    assert not works_by_words(trained(**options))


def test_a_rule_over_a_space_is_found(tmp_path: Path) -> None:
    rules = tmp_path / "rules.tsv"
    rules.write_text("61 20 62\t78\n")  # "a b" becomes "x"
    assert not works_by_words(trained(normalization_rule_tsv=str(rules)))
    rules.write_text("61 62\t78\n")
    assert works_by_words(trained(normalization_rule_tsv=str(rules)))


@pytest.mark.parametrize("end", [0, 1, 3, 100, -1])
def test_a_damaged_model_does_not(end: int) -> None:
    assert not works_by_words(trained()[:end])


def store_of(model: bytes, folder: Path) -> tuple[Any, words.Words]:
    """A processor and its store."""
    library = native.words_library({})
    if library is None:
        pytest.skip("python -m training.native.build has not run")
    path = folder / "tokenizer.model"
    path.write_bytes(model)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    store = words.make(processor, model=path, library=library)
    assert store is not None
    return processor, store


def check(processor: Any, store: words.Words, texts: list[str]) -> bool:
    """Whether the store took these texts; then each text's ids must be what SentencePiece says of it alone."""
    for kind in (np.dtype("<u2"), np.dtype("<i4")):
        found = store.encode(texts, kind=kind, end=2)
        if found is None:
            return False
        ids, sizes = found
        expected = [[*processor.encode(text), 2] for text in texts]
        assert ids.dtype == kind
        assert [part.tolist() for part in np.split(ids, np.cumsum(sizes)[:-1])] == expected
    return True


@pytest.mark.parametrize(("rule", "fallback"), [(rule, fallback) for rule in RULES for fallback in (False, True)])
def test_ids_are_sentencepieces(rule: str, fallback: bool, tmp_path: Path) -> None:
    processor, store = store_of(trained(normalization_rule_name=rule, byte_fallback=fallback), tmp_path)
    texts = st.lists(st.lists(st.sampled_from(ATOMS), max_size=12).map("".join), min_size=1, max_size=8)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(texts | st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
    def hold(texts: list[str]) -> None:
        assert check(processor, store, texts) != any("\u2581" in text for text in texts)

    hold()


def test_it_starts_anew_when_it_is_full(tmp_path: Path) -> None:
    processor, store = store_of(trained(), tmp_path)
    step = CHUNK_BYTES // 8
    for first in range(0, 6 * step, step):  # 390,000 different words: it keeps 262,144
        assert check(processor, store, [f"{number:x}" for number in range(first, first + step)])
    assert check(processor, store, ["0", "가 0", ""])


def test_without_library_or_with_another_model_there_is_none(tmp_path: Path) -> None:
    processor, _ = store_of(trained(), tmp_path)
    model = tmp_path / "tokenizer.model"
    assert words.make(processor, model=model, library=tmp_path / "none.so") is None
    library = native.words_library({})
    assert library is not None
    model.write_bytes(trained(split_by_whitespace=False))
    assert words.make(processor, model=model, library=library) is None
    assert native.words_library({"DURE_NATIVE": "0"}) is None


def test_whole_texts() -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=trained())
    ids, sizes = words.encode_whole(processor, ["", *LINES[:3]])
    assert sizes.tolist() == [0, *(len(processor.encode(line)) for line in LINES[:3])]
    assert ids.tolist() == [number for line in LINES[:3] for number in processor.encode(line)]
