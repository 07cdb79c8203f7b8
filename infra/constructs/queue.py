"""What the nodes of a queue are launched from: a template in each zone, and a placement group where asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from infra.config import facts
from infra.config.catalog import InstanceType, find
from infra.config.interfaces import Interface, layout, refusals
from infra.config.schema import Queue
from infra.constructs.launch_template import MachineBase, NodeTemplate
from infra.constructs.naming import tags


def queue_machines(
    scope: Construct,
    *,
    base: MachineBase,
    queue: Queue,
    subnets: Mapping[str, str],
    security_group_id: str,
    profile_arn: str,
) -> facts.Queue:
    """Add the templates and the placement group of a queue to a scope; returns the queue's facts.

    `subnets`: zone id to subnet, in the order in which the zones are tried.
    Errors: ValueError for a type or a layout that the rules should have refused.
    """
    known, interfaces = _layout(queue)
    group = _placement_group(scope, base=base, queue=queue) if queue.placement_group else None
    templates = []
    for zone, subnet in subnets.items():
        template = NodeTemplate(
            scope,
            f"Queue-{queue.name}-{zone}",
            base=base,
            queue=queue,
            zone_id=zone,
            subnet_id=subnet,
            security_group_id=security_group_id,
            profile_arn=profile_arn,
            placement_group=group,
            interfaces=interfaces,
        ).template
        templates.append(
            facts.LaunchTemplate(
                zone_id=zone,
                subnet_id=subnet,
                launch_template_id=template.ref,
                version=template.attr_latest_version_number,
            )
        )
    return _facts(queue, known, placement_group=group, templates=templates)


def _layout(queue: Queue) -> tuple[InstanceType, tuple[Interface, ...]]:
    known = find(queue.instance_type)
    if known is None:
        raise ValueError(f"{queue.instance_type} is not in the catalog: the rules should have refused it")
    interfaces = layout(known, efa=queue.efa)
    if refused := refusals(known, interfaces):
        raise ValueError(f"queue {queue.name}: EC2 would refuse its interfaces: {'; '.join(refused)}")
    return known, interfaces


def _placement_group(scope: Construct, *, base: MachineBase, queue: Queue) -> str:
    return ec2.CfnPlacementGroup(
        scope,
        f"Placement-{queue.name}",
        strategy="cluster",
        tags=tags(base.cluster, extra={"dure:queue": queue.name}),
    ).ref


def _facts(
    queue: Queue, known: InstanceType, *, placement_group: str | None, templates: Sequence[facts.LaunchTemplate]
) -> facts.Queue:
    return facts.Queue(
        name=queue.name,
        instance_type=queue.instance_type,
        min=queue.min,
        max=queue.max,
        market=queue.market,
        efa=queue.efa,
        idle_seconds=queue.idle_seconds,
        cpus=known.vcpus,
        memory_mib=known.memory_mib,
        gpus=known.gpus,
        placement_group=placement_group,
        launch_templates=tuple(templates),
        fallback_types=queue.fallback_types,
        nvme_scratch=queue.nvme_scratch,
    )
