"""A model folder ready to use: text in, text and probabilities out. Needs numpy and sentencepiece, not MXNet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import ModelError, SettingsError
from training.model import folder as model_folder
from training.model.inference import Inference, log_softmax
from training.tokenizer import describe


@dataclass(frozen=True)
class Sampling:
    """How to choose the next token. Temperature 0 takes the likeliest; `top_k` 0 and `top_p` 1 leave all tokens in."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise SettingsError("temperature and top-k must not be negative, top-p must be above 0 and at most 1")


@dataclass(frozen=True)
class SentenceScore:
    """Natural-log probability of a sentence, its ids counted with the end of text, and its UTF-8 bytes."""

    text: str
    log_probability: float
    tokens: int
    text_bytes: int

    @property
    def bits_per_byte(self) -> float:
        """Bits the model needs for a byte of the sentence."""
        return float(-self.log_probability / np.log(2) / max(1, self.text_bytes))


class LanguageModel:
    """A loaded model folder. Not for several threads at once."""

    def __init__(self, folder: Path) -> None:
        import sentencepiece

        self.config, weights = model_folder.read(folder)
        self._tokenizer = describe(folder)
        if self._tokenizer.vocabulary != self.config.vocabulary:
            raise ModelError(
                f"{folder}: the tokenizer has {self._tokenizer.vocabulary} pieces, the model {self.config.vocabulary}"
            )
        self._processor: Any = sentencepiece.SentencePieceProcessor(model_file=str(self._tokenizer.path))
        self._network = Inference(self.config, weights)

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special tokens."""
        return [int(token) for token in self._processor.encode(text)]

    def decode(self, tokens: list[int]) -> str:
        """Text of ids."""
        return str(self._processor.decode(tokens))

    def generate(self, prompt: str, *, length: int, sampling: Sampling, generator: np.random.Generator) -> str:
        """`prompt` and up to `length` more tokens; ends early where the model ends the text or its window is full."""
        tokens = self.encode(prompt)
        window = self.config.sequence
        if len(tokens) + 1 >= window:
            raise SettingsError(f"the prompt has {len(tokens)} tokens; this model reads fewer than {window - 1}")
        self._network.reset()
        # In training a text follows the end of another one
        logits = self._network.extend([self._tokenizer.end_id, *tokens])[-1]
        for _ in range(min(length, window - 1 - len(tokens))):
            token = self._choose(logits, sampling, generator)
            if token == self._tokenizer.end_id:
                break
            tokens.append(token)
            if self._network.length == window:
                break
            logits = self._network.extend([token])[-1]
        # The last token may be a byte of a character whose other bytes did not come any more
        return self.decode(tokens).rstrip("\ufffd")

    def _choose(self, logits: Any, sampling: Sampling, generator: np.random.Generator) -> int:
        logits = logits.astype(np.float64)
        logits[[self._tokenizer.begin_id, self._tokenizer.pad_id]] = -np.inf
        if sampling.temperature == 0:
            return int(logits.argmax())
        return choose(logits / sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p, generator=generator)

    def score(self, text: str) -> SentenceScore:
        """How probable a whole text is: as one that begins after an end of text and ends where it ends."""
        tokens = [*self.encode(text), self._tokenizer.end_id]
        if len(tokens) > self.config.sequence:
            raise SettingsError(
                f"the sentence has {len(tokens)} tokens, this model reads at most {self.config.sequence}"
            )
        self._network.reset()
        logits = self._network.extend([self._tokenizer.end_id, *tokens[:-1]])
        chosen = log_softmax(logits)[np.arange(len(tokens)), tokens]
        return SentenceScore(text, float(chosen.sum()), len(tokens), len(text.encode()))


def choose(
    logits: np.ndarray[Any, np.dtype[np.float64]], *, top_k: int, top_p: float, generator: np.random.Generator
) -> int:
    """Draw an index: among the `top_k` largest, cut to the fewest that hold `top_p` of the probability (at least
    one).
    """
    order = np.argsort(-logits, kind="stable")
    if top_k:
        order = order[:top_k]
    weights = np.exp(logits[order] - logits[order[0]])
    weights /= weights.sum()
    keep = int(np.searchsorted(np.cumsum(weights), top_p)) + 1
    weights = weights[:keep] / weights[:keep].sum()
    return int(order[generator.choice(len(weights), p=weights)])
