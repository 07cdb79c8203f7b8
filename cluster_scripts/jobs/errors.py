"""Every error that the toolkit raises on purpose.

    DureError                    kind, exit code
    |- RequestError              2: the request was wrong; nothing was changed
    |  |- InvalidSpec            a job specification breaks its schema
    |  |- InvalidArgument        a verb's or a command's argument
    |  |- InvalidCode            a code archive that is unsafe, too large or not what its hash says
    |  |- NoSuchJob
    |  `- NoSuchQueue
    |- Failed                    1: the thing asked for failed
    |  |- JobFailed              a job ended in a state that is not "completed"
    |  `- StepFailed             a step of a machine's boot, or a hook
    `- OtherSide                 3: the other side could not be reached or refused
       |- Unreachable            no answer in time, no route, a machine that is gone
       |- NoSuchCluster          no facts under that name in that region
       |- Refused                credentials or permissions
       |- Throttled              the request rate was exceeded, after the retries
       |- NoCapacity             no machine of that type is to be had now
       |- SlurmRefused           Slurm said no, with its own words
       `- UnexpectedAnswer       an answer that we can't read: a version that does not fit

A message says what was tried, what came back, and what to do next. Foreign errors are translated at the adapter with
`raise ... from`.
`kind` is the name that travels in the JSON answer of a machine; `from_kind` makes the same error again at the client.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar


class DureError(Exception):
    """Root of the tree. `kind` names the error on the wire, `exit_code` is what a command ends with."""

    kind: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    @property
    def message(self) -> str:
        """The text for the user."""
        return str(self)


class RequestError(DureError):
    """The request was wrong; nothing was changed."""

    kind = "request"
    exit_code = 2


class InvalidSpec(RequestError):
    """A job specification breaks its schema. `problems` lists every problem, not the first one only."""

    kind = "invalid_spec"

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class InvalidArgument(RequestError):
    """An argument of a verb or of a command is not of the allowed form."""

    kind = "invalid_argument"


class InvalidCode(RequestError):
    """A code archive is unsafe to unpack, too large, or not what its hash says."""

    kind = "invalid_code"


class NoSuchJob(RequestError):
    """No job of that id is known to the cluster."""

    kind = "no_such_job"


class NoSuchQueue(RequestError):
    """The cluster has no queue of that name."""

    kind = "no_such_queue"


class Failed(DureError):
    """What was asked for was tried, and failed."""

    kind = "failed"
    exit_code = 1


class JobFailed(Failed):
    """A job ended in a state that is not "completed"."""

    kind = "job_failed"


class StepFailed(Failed):
    """A step of a machine's boot, or a hook, failed."""

    kind = "step_failed"


class OtherSide(DureError):
    """The other side could not be reached, or refused."""

    kind = "other_side"
    exit_code = 3


class Unreachable(OtherSide):
    """No answer in time, no route, or a machine that is gone."""

    kind = "unreachable"


class NoSuchCluster(OtherSide):
    """Nothing is deployed under that name in that region."""

    kind = "no_such_cluster"


class Refused(OtherSide):
    """Credentials are missing or wrong, or a permission is missing."""

    kind = "refused"


class Throttled(OtherSide):
    """The request rate was exceeded and stayed so through the retries."""

    kind = "throttled"


class NoCapacity(OtherSide):
    """No machine of that type is to be had now, in any zone that the queue allows."""

    kind = "no_capacity"


class SlurmRefused(OtherSide):
    """Slurm refused a command; the message carries its own words."""

    kind = "slurm_refused"


class UnexpectedAnswer(OtherSide):
    """An answer that we can't read: most often two versions that do not fit each other."""

    kind = "unexpected_answer"


def travelling(root: type[DureError] = DureError) -> Iterator[type[DureError]]:
    """The errors of this module, root first: those that a machine may send. A command's own never leave the client."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == __name__:
            yield from travelling(child)


def from_kind(kind: str, message: str) -> DureError:
    """The error that `kind` names, as it travelled in a machine's answer; an unknown kind becomes UnexpectedAnswer."""
    for error in travelling():
        if error.kind == kind:
            return error(message)
    return UnexpectedAnswer(f"{message} (error of an unknown kind {kind!r}: is the cluster newer than this toolkit?)")
