from __future__ import annotations

import pytest

from infra.config.estimate import ENDPOINTS, costs, quotas, total
from infra.config.loader import load_cluster
from infra.config.schema import ClusterFile
from tests.unit.infra.conftest import FULL, ROOT

TALK = load_cluster(ROOT / "clusters/kogpt2-p3dn.yaml")


def test_the_talks_cluster_costs_250_dollars_an_hour() -> None:
    sum_ = total(costs(TALK))
    assert sum_.what == "in all"
    assert sum_.full == pytest.approx(8 * 31.212 + 0.384, rel=0.01)
    assert sum_.idle is not None and 1.0 < sum_.idle < 1.3


def test_what_has_no_price_is_named() -> None:
    lines = costs(load_cluster(FULL).model_copy(update={"region": "eu-north-1"}))
    assert lines[0].full is None
    assert total(lines).what.startswith("in all, without head, m6i.2xlarge; queue train")


def test_kept_nodes_count_while_idle() -> None:
    queue = TALK.queues[0].model_copy(update={"min": 2})
    (_, line, *_) = costs(TALK.model_copy(update={"queues": (queue,)}))
    assert line.idle is not None and line.full is not None
    assert line.full == pytest.approx(4 * line.idle)


def test_quotas_are_vcpus_by_class_and_market() -> None:
    assert {quota.code: quota.vcpus for quota in quotas(TALK)} == {"L-417A185B": 8 * 96, "L-1216C47A": 8}
    # The Capacity Block has no quota; the reservation counts as on-demand; g5 is spot
    full: ClusterFile = load_cluster(FULL)
    assert {quota.code: quota.vcpus for quota in quotas(full)} == {
        "L-417A185B": 2 * 96,
        "L-3819A6DF": 8 * 48,
        "L-1216C47A": 8,
    }


def test_the_endpoints_are_those_of_the_stacks() -> None:
    from infra.constructs.endpoints import INTERFACE_SERVICES

    assert len(INTERFACE_SERVICES) == ENDPOINTS
