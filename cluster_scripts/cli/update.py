"""What `dure up` says and asks before it changes a live cluster.

Each changed key of the cluster file has an effect (infra/config/changes.py), shown before anything is done. What
replaces the head or data is done only with --replace; what makes another cluster of it is never done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster_scripts.jobs.errors import RequestError

if TYPE_CHECKING:
    from infra.config.changes import Change
    from infra.config.schema import ClusterFile


def changes_of(deployed: str | None, wanted: ClusterFile) -> tuple[Change, ...]:
    """What changes from the cluster file that the live cluster keeps; empty for a new cluster.

    Errors: RequestError when the kept file is of a version that this toolkit cannot read.
    """
    from infra.config.changes import compare, from_json

    if deployed is None:
        return ()
    try:
        return tuple(compare(from_json(deployed), wanted))
    except ValueError as error:
        raise RequestError(
            f"cluster {wanted.name!r} was deployed by another version of this toolkit, whose cluster file this one "
            f"can't read ({error}); update it with that version, or with `cdk deploy` directly"
        ) from error


def confirm(changes: tuple[Change, ...], *, replace: bool) -> bool:
    """Prints every change with its effect; returns whether the head must be replaced.

    Errors: RequestError for what needs --replace and has none, and for what is another cluster.
    """
    from infra.config.changes import Effect

    for change in changes:
        print(change, flush=True)
    if other := [c.key for c in changes if c.effect is Effect.ANOTHER_CLUSTER]:
        raise RequestError(
            f"{', '.join(other)}: that is another cluster, and can't be made of this one. Nothing was changed. "
            "Deploy it under another name, or take this one away first (`dure down`)"
        )
    if not replace and (heavy := [c.key for c in changes if c.effect.needs_replace]):
        raise RequestError(
            f"{', '.join(heavy)}: this replaces what is there (see above). Nothing was changed; --replace does it"
        )
    return any(c.effect is Effect.REPLACES_HEAD for c in changes)
