"""What can be wrong with a working folder.

cluster_scripts.jobs.errors.RequestError (exit code 2)
└── FolderProblem         the folder can't be sent as it is; `str()` says why and what to do
    ├── KeyLikeFiles      files that look like keys or passwords are among those that would be sent
    └── FolderTooLarge    more bytes than an archive may have
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster_scripts.jobs.errors import RequestError

MEBIBYTE = 1 << 20
LARGEST_SHOWN = 5


class FolderProblem(RequestError):
    """The working folder can't be sent as it is."""

    kind = "folder"


class KeyLikeFiles(FolderProblem):
    """Files that look like secrets are among those that would be sent. The secrets themselves are not quoted."""

    def __init__(self, findings: Sequence[tuple[str, str]]) -> None:
        self.findings = tuple(findings)
        listed = "".join(f"\n  {path}: {why}" for path, why in self.findings)
        super().__init__(
            f"refusing to send files that look like secrets:{listed}\n"
            "Nothing was sent. Add them to .gitignore (in a folder without git: move them out), or, if one is "
            "harmless, say so with --allow-file PATH. A job needs no AWS keys: the cluster's nodes have a role."
        )


class FolderTooLarge(FolderProblem):
    """The files are larger in all than an archive may be."""

    def __init__(self, *, total: int, limit: int, largest: Sequence[tuple[str, int]]) -> None:
        listed = "".join(f"\n  {size / MEBIBYTE:8.1f} MiB  {path}" for path, size in largest[:LARGEST_SHOWN])
        super().__init__(
            f"the working folder has {total / MEBIBYTE:.1f} MiB to send, the limit is {limit / MEBIBYTE:.0f} MiB. "
            f"The largest files:{listed}\n"
            "Nothing was sent. Add what the job does not need to .gitignore, and copy data to the cluster's file "
            "system with `dure cp FILE :/data/...`; --no-code sends no folder at all."
        )
