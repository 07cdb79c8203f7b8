"""What can go wrong in the trainer.

TrainingError            anything below; ``exit_code`` 1
|- SettingsError         the request itself is wrong (arguments, settings); exit code 2
|- CorpusError           text that cannot be read
|- ManifestError         the list of shards is damaged, locked, or belongs to another tokenizer
|- ShardError            a shard does not hold what its manifest says
|- TokenizerError        SentencePiece refused
|- CheckpointError       no checkpoint can be written or loaded
|- ModelError            a model folder is incomplete or does not fit its configuration
|- LaunchError           the ranks cannot find each other
`- DivergenceError       too many steps in a row had to be left out
"""

from __future__ import annotations

REQUEUE_EXIT_CODE = 75
"""EX_TEMPFAIL: the cluster's batch script requeues a job that ends with it."""


class TrainingError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


class SettingsError(TrainingError):
    """The request is wrong; nothing was done."""

    exit_code = 2


class CorpusError(TrainingError):
    """Text that cannot be read."""


class ManifestError(TrainingError):
    """The manifest is damaged, in use, or of another tokenizer."""


class ShardError(TrainingError):
    """A shard does not hold what its manifest says."""


class TokenizerError(TrainingError):
    """SentencePiece refused to train or to load."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be written, or none can be loaded."""


class ModelError(TrainingError):
    """A model folder is incomplete or does not fit its configuration."""


class LaunchError(TrainingError):
    """The ranks of a job cannot find each other."""


class DivergenceError(TrainingError):
    """Too many steps in a row had no finite loss or gradient, also when they were replayed."""
