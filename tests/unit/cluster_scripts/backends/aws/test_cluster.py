"""The AWS adapter: which calls it makes, and what it makes of the answers."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.response import StreamingBody
from botocore.stub import ANY

from cluster_scripts.backends.aws.cluster import AwsCluster
from cluster_scripts.backends.aws.facts import cluster_names, load_facts, only_cluster
from cluster_scripts.jobs.errors import (
    InvalidArgument,
    NoSuchCluster,
    NoSuchJob,
    NoSuchQueue,
    RequestError,
    UnexpectedAnswer,
    Unreachable,
)
from cluster_scripts.jobs.model import LogEvent
from cluster_scripts.jobs.spec import CodeRef, JobSpec
from tests.unit.cluster_scripts.backends.aws.stubbed import FACTS, HEAD, Stubs, stubbed
from tests.unit.cluster_scripts.cli.fakes import a_job, a_node

SPEC = JobSpec(
    name="j", queue="gpu", command=("hostname",), submitted_by="me", submitted_at=datetime(2026, 1, 1, tzinfo=UTC)
)


@pytest.fixture
def stubs() -> Iterator[Stubs]:
    with stubbed() as there:
        yield there


@pytest.fixture
def cluster(stubs: Stubs) -> AwsCluster:
    return AwsCluster(aws=stubs.aws, facts=FACTS, new_id=lambda: "n1")


def ok(answer: dict[str, Any]) -> str:
    return json.dumps({"ok": True, "answer": answer})


def test_a_submission_puts_the_specification_and_names_its_key(stubs: Stubs, cluster: AwsCluster) -> None:
    stubs["s3"].add_response(
        "put_object",
        {},
        {"Bucket": "the-bucket", "Key": ".dure/specs/n1.json", "Body": SPEC.to_json().encode(), "ContentType": ANY},
    )
    stubs.head_is_found()
    stubs.command_answers(ok({"job_id": "12"}), verb="submit", argument=".dure/specs/n1.json")
    assert cluster.submit(SPEC, code=None) == "12"


@pytest.mark.parametrize("there", [True, False])
def test_code_is_sent_once(there: bool, stubs: Stubs, cluster: AwsCluster, tmp_path: Path) -> None:
    archive = tmp_path / "code.tar.gz"
    archive.write_bytes(b"code")
    code = CodeRef.of(hashlib.sha256(b"code").hexdigest())
    if there:
        stubs["s3"].add_response("head_object", {}, {"Bucket": "the-bucket", "Key": code.key})
    else:
        stubs["s3"].add_client_error("head_object", "404", http_status_code=404)
        stubs["s3"].add_response(
            "put_object", {}, {"Bucket": "the-bucket", "Key": code.key, "Body": ANY, "ChecksumAlgorithm": ANY}
        )
    stubs["s3"].add_response("put_object", {}, None)
    stubs.head_is_found()
    stubs.command_answers(ok({"job_id": "12"}), verb="submit", argument=".dure/specs/n1.json")
    assert cluster.submit(replace(SPEC, code=code), code=archive) == "12"


def test_what_the_facts_rule_out_is_refused_before_any_call(cluster: AwsCluster, tmp_path: Path) -> None:
    with pytest.raises(NoSuchQueue, match="it has gpu"):
        cluster.submit(replace(SPEC, queue="cpu"), code=None)
    with pytest.raises(InvalidArgument, match="at most 4"):
        cluster.submit(replace(SPEC, nodes=5), code=None)
    with pytest.raises(InvalidArgument, match="archive"):
        cluster.submit(SPEC, code=tmp_path)


def test_jobs_and_nodes_are_read_back(stubs: Stubs, cluster: AwsCluster) -> None:
    job, node = a_job(), a_node()
    stubs.head_is_found()
    stubs.command_answers(ok({"jobs": [job.to_json()]}), verb="jobs")
    stubs.command_answers(ok({"nodes": [node.to_json()]}), verb="nodes")
    stubs.command_answers(ok({"job": job.to_json()}), verb="show", argument="12")
    assert cluster.jobs() == [job]
    assert cluster.nodes() == [node]
    assert cluster.job("12") == job


def test_an_answer_of_another_shape_is_refused(stubs: Stubs, cluster: AwsCluster) -> None:
    stubs.head_is_found()
    stubs.command_answers(ok({"tasks": []}), verb="jobs")
    with pytest.raises(UnexpectedAnswer, match="tasks"):
        cluster.jobs()


@pytest.mark.parametrize("id", ["", "0", "abc", "1; rm -rf /", "12 ", "-1", "１２"])
def test_an_id_that_is_none_reaches_nobody(id: str, cluster: AwsCluster) -> None:
    for method in (cluster.job, cluster.cancel, lambda id: cluster.log_events(id, cursor=None)):
        with pytest.raises(InvalidArgument, match="no job id"):
            method(id)


def test_an_unknown_job_keeps_its_kind(stubs: Stubs, cluster: AwsCluster) -> None:
    stubs.head_is_found()
    error = {"ok": False, "error": {"kind": "no_such_job", "message": "no job 99"}}
    stubs.command_answers(json.dumps(error), verb="cancel", argument="99")
    with pytest.raises(NoSuchJob):
        cluster.cancel("99")


def test_a_replaced_head_is_looked_up_again(stubs: Stubs, cluster: AwsCluster) -> None:
    stubs.head_is_found()
    stubs["ssm"].add_client_error("send_command", "InvalidInstanceId")
    with pytest.raises(Unreachable):
        cluster.nodes()
    stubs.head_is_found()
    stubs.command_answers(ok({"nodes": []}), verb="nodes")
    assert cluster.nodes() == []


@pytest.mark.parametrize(("state", "remedy"), [("stopped", "start-instances"), ("pending", "try again")])
def test_a_head_that_does_not_run_is_explained(state: str, remedy: str, stubs: Stubs, cluster: AwsCluster) -> None:
    stubs.head_is_found(state=state)
    with pytest.raises(Unreachable, match=remedy):
        cluster.nodes()


def test_a_cluster_without_a_head_is_none(stubs: Stubs, cluster: AwsCluster) -> None:
    stubs["ec2"].add_response("describe_instances", {"Reservations": []})
    with pytest.raises(NoSuchCluster):
        cluster.nodes()


def test_the_head_is_found_by_its_tags(stubs: Stubs, cluster: AwsCluster) -> None:
    filters = [
        {"Name": "tag:dure:cluster", "Values": ["kogpt2"]},
        {"Name": "tag:dure:role", "Values": ["head"]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    instance = {"InstanceId": HEAD, "LaunchTime": "2026-01-01T00:00:00Z", "State": {"Name": "running"}}
    stubs["ec2"].add_response("describe_instances", {"Reservations": [{"Instances": [instance]}]}, {"Filters": filters})
    stubs.command_answers(ok({}), verb="cancel", argument="12")
    cluster.cancel("12")


def event(message: str, timestamp: int = 5) -> dict[str, Any]:
    return {"timestamp": timestamp, "message": message}


def test_log_pages_go_on_from_the_cursor(stubs: Stubs, cluster: AwsCluster) -> None:
    where = {"logGroupName": "/dure/kogpt2/jobs", "logStreamName": "12", "startFromHead": True}
    stubs["logs"].add_response(
        "get_log_events", {"events": [event("첫 줄"), event(" ")], "nextForwardToken": "f/1"}, where
    )
    stubs["logs"].add_response(
        "get_log_events", {"events": [], "nextForwardToken": "f/1"}, {**where, "nextToken": "f/1"}
    )
    first = cluster.log_events("12", cursor=None)
    assert first.events == (LogEvent(timestamp_ms=5, message="첫 줄"), LogEvent(timestamp_ms=5, message=""))
    assert cluster.log_events("12", cursor=first.cursor).cursor == first.cursor


def test_a_job_without_output_yet_gives_an_empty_page(stubs: Stubs, cluster: AwsCluster) -> None:
    stubs["logs"].add_client_error("get_log_events", "ResourceNotFoundException")
    page = cluster.log_events("12", cursor=None)
    assert (page.events, page.cursor) == ((), "")


def test_the_end_mark_is_none_of_the_last_lines(stubs: Stubs, cluster: AwsCluster) -> None:
    mark = '{"dure":"end-of-log","bytes":3}'
    stubs["logs"].add_response(
        "get_log_events",
        {"events": [event("a"), event("b"), event(mark)]},
        {"logGroupName": ANY, "logStreamName": "12", "startFromHead": False, "limit": 3},
    )
    assert [line.message for line in cluster.last_lines("12", 2)] == ["a", "b"]
    assert cluster.is_log_end(LogEvent(timestamp_ms=0, message=mark))
    assert not cluster.is_log_end(LogEvent(timestamp_ms=0, message="end-of-log"))


def test_the_caller_is_who_aws_says(stubs: Stubs, cluster: AwsCluster) -> None:
    stubs["sts"].add_response("get_caller_identity", {"Arn": "arn:aws:iam::123456789012:user/kim"})
    assert cluster.caller() == "arn:aws:iam::123456789012:user/kim"


def test_facts_are_loaded_by_the_clusters_name(stubs: Stubs) -> None:
    stubs["ssm"].add_response(
        "get_parameter", {"Parameter": {"Value": FACTS.to_json()}}, {"Name": "/dure/kogpt2/facts"}
    )
    assert load_facts(stubs.aws, "kogpt2") == FACTS


def test_facts_of_another_version_are_refused(stubs: Stubs) -> None:
    stubs["ssm"].add_response("get_parameter", {"Parameter": {"Value": '{"version": 2}'}})
    with pytest.raises(UnexpectedAnswer, match="version"):
        load_facts(stubs.aws, "kogpt2")


def parameters(*names: str) -> dict[str, Any]:
    return {"Parameters": [{"Name": name} for name in names]}


def test_a_missing_cluster_names_those_that_are_there(stubs: Stubs) -> None:
    stubs["ssm"].add_client_error("get_parameter", "ParameterNotFound")
    stubs["ssm"].add_response("get_parameters_by_path", parameters("/dure/a/facts", "/dure/images/volta"))
    with pytest.raises(NoSuchCluster, match="it has a"):
        load_facts(stubs.aws, "b")


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a b", "-a"])
def test_a_name_that_can_be_none_reaches_nobody(name: str, stubs: Stubs) -> None:
    with pytest.raises(InvalidArgument):
        load_facts(stubs.aws, name)


def test_clusters_are_listed_over_all_pages(stubs: Stubs) -> None:
    stubs["ssm"].add_response("get_parameters_by_path", {**parameters("/dure/b/facts"), "NextToken": "t"})
    stubs["ssm"].add_response("get_parameters_by_path", parameters("/dure/a/facts", "/dure/a/other"))
    assert cluster_names(stubs.aws) == ["a", "b"]


@pytest.mark.parametrize(("names", "error"), [((), NoSuchCluster), (("/dure/a/facts", "/dure/b/facts"), RequestError)])
def test_the_only_cluster_must_be_one(names: tuple[str, ...], error: type[Exception], stubs: Stubs) -> None:
    stubs["ssm"].add_response("get_parameters_by_path", parameters(*names))
    with pytest.raises(error):
        only_cluster(stubs.aws)


def test_objects_are_read_as_text(stubs: Stubs, cluster: AwsCluster) -> None:
    body = "두레".encode()
    stubs["s3"].add_response("get_object", {"Body": StreamingBody(io.BytesIO(body), len(body))})
    assert cluster.bucket.get_text("k") == "두레"
