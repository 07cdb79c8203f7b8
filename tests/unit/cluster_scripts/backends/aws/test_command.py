"""One verb and its answer over SSM, in everything that can come back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cluster_scripts.backends.aws.command import Asking
from cluster_scripts.backends.aws.waiting import Clock
from cluster_scripts.jobs.errors import (
    DureError,
    NoSuchJob,
    OtherSide,
    Refused,
    Throttled,
    UnexpectedAnswer,
    Unreachable,
)
from tests.unit.cluster_scripts.backends.aws.stubbed import FACTS, HEAD, Stubs, stubbed


@dataclass
class Waited:
    seconds: float = 0.0
    waits: int = 0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.waits += 1


@pytest.fixture
def stubs() -> Iterator[Stubs]:
    with stubbed() as there:
        yield there


@pytest.fixture
def waited() -> Waited:
    return Waited()


def ask(stubs: Stubs, waited: Waited, verb: str = "nodes", argument: str = "", stored: str = "{}") -> dict[str, object]:
    asking = Asking(
        aws=stubs.aws,
        document=FACTS.document_for(verb),
        instance_id=HEAD,
        fetch=lambda key: stored,
        clock=Clock(now=waited.now, sleep=waited.sleep),
    )
    return asking.ask(verb, argument)


def test_the_answer_is_the_json_line(stubs: Stubs, waited: Waited) -> None:
    stubs.command_answers('a warning\n{"ok": true, "answer": {"nodes": []}}\n', verb="nodes")
    assert ask(stubs, waited) == {"nodes": []}
    assert waited.waits == 0


def test_an_argument_travels_as_a_parameter(stubs: Stubs, waited: Waited) -> None:
    stubs.command_answers('{"ok": true, "answer": {}}', verb="cancel", argument="12")
    assert ask(stubs, waited, "cancel", "12") == {}


def test_a_late_invocation_and_a_slow_answer_are_waited_for(stubs: Stubs, waited: Waited) -> None:
    stubs["ssm"].add_response("send_command", {"Command": {"CommandId": "c" * 36}})
    stubs["ssm"].add_client_error("get_command_invocation", "InvocationDoesNotExist")
    for status in ("Pending", "InProgress", "InProgress", "Delayed"):
        stubs.invocation(Status=status)
    stubs.invocation(Status="Success", StandardOutputContent='{"ok": true, "answer": {}}')
    assert ask(stubs, waited) == {}
    assert waited.waits == 5
    assert waited.seconds < 3


def test_a_long_answer_is_fetched_from_the_bucket(stubs: Stubs, waited: Waited) -> None:
    stubs.command_answers('{"ok": true, "answer_key": ".dure/answers/a.json"}', verb="jobs")
    assert ask(stubs, waited, "jobs", stored='{"jobs": [1]}') == {"jobs": [1]}


@pytest.mark.parametrize("stored", ["not json", "[1]"])
def test_a_long_answer_that_is_none_is_an_error(stored: str, stubs: Stubs, waited: Waited) -> None:
    stubs.command_answers('{"ok": true, "answer_key": "k"}', verb="jobs")
    with pytest.raises(UnexpectedAnswer):
        ask(stubs, waited, "jobs", stored=stored)


def test_the_heads_own_errors_keep_their_kind(stubs: Stubs, waited: Waited) -> None:
    error = {"kind": "no_such_job", "message": "no job 99"}
    stubs.command_answers(json.dumps({"ok": False, "error": error}), verb="show", argument="99", Status="Failed")
    with pytest.raises(NoSuchJob, match=r"^no job 99$"):
        ask(stubs, waited, "show", "99")


@pytest.mark.parametrize(
    "stdout", ["", "Segmentation fault", '{"ok": true}', '{"answer": 1}', '{"ok": false}', "[" * 5000]
)
def test_what_is_no_answer_says_so(stdout: str, stubs: Stubs, waited: Waited) -> None:
    stubs.command_answers(stdout, verb="nodes", Status="Failed", ResponseCode=139, StandardErrorContent="why it failed")
    with pytest.raises(UnexpectedAnswer):
        ask(stubs, waited)


def test_the_words_of_a_broken_head_are_shown(stubs: Stubs, waited: Waited) -> None:
    stubs.command_answers("", verb="nodes", Status="Failed", ResponseCode=127, StandardErrorContent="no dure-node\n")
    with pytest.raises(UnexpectedAnswer, match=r"exit code 127\): no dure-node"):
        ask(stubs, waited)


def test_no_answer_within_a_minute_is_unreachable(stubs: Stubs, waited: Waited) -> None:
    stubs["ssm"].add_response("send_command", {"Command": {"CommandId": "c" * 36}})
    for _ in range(36):
        stubs.invocation(Status="InProgress")
    with pytest.raises(Unreachable, match="dure jobs"):
        ask(stubs, waited)
    assert 59 <= waited.seconds <= 61


def test_an_undeliverable_command_is_unreachable(stubs: Stubs, waited: Waited) -> None:
    stubs.command_answers("", verb="nodes", Status="TimedOut", StatusDetails="DeliveryTimedOut")
    with pytest.raises(Unreachable, match="does it run"):
        ask(stubs, waited)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("InvalidInstanceId", Unreachable),
        ("InvalidDocument", OtherSide),
        ("ThrottlingException", Throttled),
        ("AccessDeniedException", Refused),
    ],
)
def test_refusals_to_send_are_explained(code: str, kind: type[DureError], stubs: Stubs, waited: Waited) -> None:
    stubs["ssm"].add_client_error("send_command", code)
    with pytest.raises(kind) as raised:
        ask(stubs, waited)
    assert type(raised.value) is kind
