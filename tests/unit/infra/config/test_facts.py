from __future__ import annotations

import json
from typing import Any

import pytest

from infra.config.facts import Facts, FactsError, parameter_name

GOOD: dict[str, Any] = {
    "version": 1,
    "name": "local",
    "region": "us-east-1",
    "account": "123456789012",
    "bucket": "b",
    "file_system": {
        "id": "fs-1",
        "dns_name": "fs-1.fsx",
        "mount_name": "abc",
        "mount_point": "/fsx",
        "associations": [{"path": "/data", "prefix": "data"}],
    },
    "head": {"private_ip": "10.0.0.10", "host_name": "ip-10-0-0-10"},
    "queues": [
        {
            "name": "gpu",
            "instance_type": "p3dn.24xlarge",
            "min": 0,
            "max": "4",
            "market": "on-demand",
            "efa": "true",
            "idle_seconds": 5,
            "cpus": "96",
            "memory_mib": 786432,
            "gpus": 8,
            "placement_group": None,
            "launch_templates": [
                {"zone_id": "use1-az6", "subnet_id": "subnet-1", "launch_template_id": "lt-1", "version": "1"}
            ],
        }
    ],
    "munge_secret": "arn:aws:secretsmanager:us-east-1:123456789012:secret:x",
    "log_groups": {"jobs": "/dure/local/jobs", "nodes": "/dure/local/nodes"},
    "document": "Dure-local",
    "metrics_namespace": "Dure",
    "toolkit": {"bucket": "assets", "key": "k.zip", "sha256": "0" * 64},
    "slurm": {"resume_timeout_seconds": "1800", "suspend_timeout_seconds": 120},
}


def changed(**changes: Any) -> str:
    return json.dumps({**GOOD, **changes})


def test_numbers_that_cloudformation_made_texts_are_numbers_again() -> None:
    facts = Facts.from_json(json.dumps(GOOD))
    queue = facts.queue("gpu")
    assert (queue.max, queue.cpus, queue.efa, facts.slurm.resume_timeout_seconds) == (4, 96, True, 1800)
    assert queue.node_names() == ("gpu-1", "gpu-2", "gpu-3", "gpu-4")


def test_what_is_written_is_read_back_equal() -> None:
    facts = Facts.from_json(json.dumps(GOOD))
    assert Facts.from_json(facts.to_json()) == facts
    assert "\n" not in facts.to_json()


def test_optional_parts_have_defaults() -> None:
    facts = Facts.from_json(json.dumps(GOOD))
    assert facts.monitoring.interval_seconds == 60
    assert facts.queue("gpu").fallback_types == ()
    assert Facts.from_json(changed(monitoring={"interval_seconds": "5"})).monitoring.interval_seconds == 5


def test_every_problem_is_said_at_once_with_its_path() -> None:
    queue = {**GOOD["queues"][0], "max": 0, "market": "auction", "colour": "red", "fallback_types": [1]}
    with pytest.raises(FactsError) as caught:
        Facts.from_json(changed(queues=[queue, 3], head={"private_ip": ""}, extra=1))
    text = str(caught.value)
    for path in (
        "facts.queues[0].max: found 0",
        'facts.queues[0].market: found "auction"',
        "facts.queues[0].colour: unknown key",
        "facts.queues[0].fallback_types: found a list",
        "facts.queues[1]: found 3, needs an object",
        'facts.head.private_ip: found ""',
        "facts.head.host_name: missing",
        "facts.extra: unknown key",
    ):
        assert path in text
    assert "facts.queues[1].name" not in text


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "null", "[" * 100_000, '{"version": 2}', '"x"'])
def test_what_is_no_facts_is_refused_without_a_traceback(text: str) -> None:
    with pytest.raises(FactsError):
        Facts.from_json(text)


@pytest.mark.parametrize("number", [-1, 1.5, True, "1.5", "-1", "9" * 30, None, [], "１"])
def test_only_whole_numbers_are_numbers(number: object) -> None:
    with pytest.raises(FactsError, match=r"queues\[0\]\.cpus"):
        Facts.from_json(changed(queues=[{**GOOD["queues"][0], "cpus": number}]))


def test_a_newer_version_asks_for_its_toolkit() -> None:
    with pytest.raises(FactsError, match="use the toolkit that deployed this cluster"):
        Facts.from_json(changed(version=2))


def test_an_unknown_queue_names_the_known_ones() -> None:
    with pytest.raises(KeyError, match="it has: gpu"):
        Facts.from_json(json.dumps(GOOD)).queue("cpu")


def test_the_parameter_is_named_after_the_cluster() -> None:
    assert parameter_name("local") == "/dure/local/facts"
