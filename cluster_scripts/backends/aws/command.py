"""One verb to the head and its answer, through SSM.

The document takes a verb and an argument, both checked by patterns there, and the head prints one line of JSON:
`{"ok": true, "answer": {...}}`, `{"ok": true, "answer_key": KEY}` for an answer in the bucket that is too long for
SSM's 24,000 characters, or `{"ok": false, "error": {"kind", "message"}}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from cluster_scripts.backends.aws.errors import code_of, translating
from cluster_scripts.backends.aws.session import Aws
from cluster_scripts.backends.aws.waiting import SYSTEM_CLOCK, Clock, pauses
from cluster_scripts.jobs.errors import DureError, OtherSide, UnexpectedAnswer, Unreachable, from_kind

if TYPE_CHECKING:
    from mypy_boto3_ssm.type_defs import GetCommandInvocationResultTypeDef

# SSM gives up delivering to an instance that does not ask for commands; 30 is the least that it takes
DELIVERY_SECONDS = 30
# the first look comes soon (a warm head answers within half a second), later ones spare the API's rate
FIRST_PAUSE, PAUSE_FACTOR, LONGEST_PAUSE = 0.15, 1.5, 2.0
ANSWER_SECONDS = 60.0

_WAITING = frozenset({"Pending", "InProgress", "Delayed", "Cancelling"})


@dataclass(frozen=True)
class Asking:
    """Asks the head of one cluster. `fetch` reads an object of its bucket, for long answers."""

    aws: Aws
    document: str
    instance_id: str
    fetch: Callable[[str], str]
    clock: Clock = SYSTEM_CLOCK

    def ask(self, verb: str, argument: str = "") -> dict[str, Any]:
        """The head's answer.

        Raises the head's own error (any DureError), Unreachable when no answer comes within a minute,
        UnexpectedAnswer for one that can't be read, and any OtherSide.
        """
        doing = f"asking the head ({self.instance_id}) for {verb!r}"
        command_id = self._send(verb, argument, doing)
        result = self._wait(command_id, doing)
        return self._answer(result, doing)

    def _send(self, verb: str, argument: str, doing: str) -> str:
        with translating(doing):
            try:
                sent = self.aws.ssm.send_command(
                    InstanceIds=[self.instance_id],
                    DocumentName=self.document,
                    Parameters={"Verb": [verb], **({"Argument": [argument]} if argument else {})},
                    TimeoutSeconds=DELIVERY_SECONDS,
                    Comment=f"dure {verb}",
                )
            except ClientError as error:
                raise self._explained(error, doing) from error
        return sent["Command"].get("CommandId", "")

    def _explained(self, error: ClientError, doing: str) -> Exception:
        code = code_of(error)
        if code == "InvalidInstanceId":
            return Unreachable(
                f"{doing}: SSM does not know the instance: it still boots (a minute or two), or its SSM agent is down "
                "or can't reach the endpoints; try again, then look at its console output: "
                f"aws ec2 get-console-output --latest --instance-id {self.instance_id}"
            )
        if code == "InvalidDocument":
            return OtherSide(f"{doing}: the SSM document {self.document!r} is gone; deploy the cluster again")
        return error

    def _wait(self, command_id: str, doing: str) -> GetCommandInvocationResultTypeDef:
        status = "not started"
        for _ in pauses(
            self.clock, first=FIRST_PAUSE, factor=PAUSE_FACTOR, longest=LONGEST_PAUSE, total=ANSWER_SECONDS
        ):
            with translating(doing):
                try:
                    result = self.aws.ssm.get_command_invocation(CommandId=command_id, InstanceId=self.instance_id)
                except ClientError as error:
                    if code_of(error) != "InvocationDoesNotExist":  # it takes SSM a moment to make it
                        raise
                    continue
            status = str(result["Status"])
            if status not in _WAITING:
                return result
        raise Unreachable(
            f"{doing}: no answer within {ANSWER_SECONDS:.0f} s (SSM command {command_id}: {status}). It may still be "
            "carried out: look at `dure jobs` before you ask again"
        )

    def _answer(self, result: GetCommandInvocationResultTypeDef, doing: str) -> dict[str, Any]:
        answer = _parsed(result.get("StandardOutputContent", ""))
        if answer is None:
            raise _no_answer(result, doing)
        if not answer.get("ok"):
            raise _told_error(answer, doing)
        if isinstance(key := answer.get("answer_key"), str):
            return _object(self.fetch(key), f"{doing}: the answer in {key}")
        if isinstance(value := answer.get("answer"), dict):
            return value
        raise UnexpectedAnswer(f"{doing}: an answer without content; is the cluster newer than this toolkit?")


def _parsed(text: str) -> dict[str, Any] | None:
    """The last line that is a JSON object with "ok"; None if there is none."""
    for line in reversed(text.splitlines()):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and "ok" in value:
            return value
    return None


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnexpectedAnswer(f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnexpectedAnswer(f"{what} is a JSON {type(value).__name__}, not an object")
    return value


def _told_error(answer: dict[str, Any], doing: str) -> DureError:
    error = answer.get("error")
    if not isinstance(error, dict):
        return UnexpectedAnswer(f"{doing}: it failed without saying why")
    return from_kind(str(error.get("kind", "")), str(error.get("message", "")))


def _no_answer(result: GetCommandInvocationResultTypeDef, doing: str) -> DureError:
    status = str(result["Status"])
    details = result.get("StatusDetails", status)
    if details in ("Undeliverable", "DeliveryTimedOut", "Terminated") or status == "TimedOut":
        return Unreachable(
            f"{doing}: the head did not take the command within {DELIVERY_SECONDS} s (SSM: {details}); does it run?"
        )
    said = (result.get("StandardErrorContent", "") or result.get("StandardOutputContent", "")).strip()
    code = result.get("ResponseCode", -1)
    return UnexpectedAnswer(
        f"{doing}: the head gave no answer (SSM: {details}, exit code {code}): {said[-600:] or 'it printed nothing'}\n"
        "it may still be booting; its log is in the log group of the nodes"
    )
