"""What a machine is launched from: one template for the head, one a queue and zone for the nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from infra.config.interfaces import Interface
from infra.config.schema import Queue
from infra.constructs.naming import tags

# The image knows the rest: who the machine is, it reads from its tags
USER_DATA = """#!/bin/bash
set -euo pipefail
exec /opt/dure/bin/dure-node boot
"""

_TEMPLATE = ec2.CfnLaunchTemplate


@dataclass(frozen=True)
class MachineBase:
    """What every machine of a cluster has in common: its image, and the key of its volumes."""

    cluster: str
    image_id: str
    root_device: str
    key_arn: str
    user_tags: Mapping[str, str]


class HeadTemplate(Construct):
    """The head's template. It has no interface: the head is given its own, whose address is known beforehand."""

    def __init__(self, scope: Construct, id: str, *, base: MachineBase, profile_arn: str, root_volume_gib: int) -> None:
        super().__init__(scope, id)
        name = f"dure-{base.cluster}-head"
        # Without the user's tags: a new version of this template would be a new head
        base = replace(base, user_tags={})
        self.template = _TEMPLATE(
            self,
            "Template",
            launch_template_name=name,
            launch_template_data=_TEMPLATE.LaunchTemplateDataProperty(
                image_id=base.image_id,
                iam_instance_profile=_TEMPLATE.IamInstanceProfileProperty(arn=profile_arn),
                metadata_options=_metadata(),
                monitoring=_TEMPLATE.MonitoringProperty(enabled=True),
                # EC2 moves it from hardware that fails; it boots there as after a reboot
                maintenance_options=_TEMPLATE.MaintenanceOptionsProperty(auto_recovery="default"),
                block_device_mappings=[_root(base, root_volume_gib)],
                tag_specifications=_launched_tags(base, role="head", name=name),
                user_data=cdk.Fn.base64(USER_DATA),
            ),
            tag_specifications=[_own_tags(base)],
        )


class NodeTemplate(Construct):
    """The template of a queue's nodes in one zone.

    `interfaces` is the layout of the instance type; every one carries the security group, and there are then no
    security groups beside them (EC2 refuses both).
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        base: MachineBase,
        queue: Queue,
        zone_id: str,
        subnet_id: str,
        security_group_id: str,
        profile_arn: str,
        placement_group: str | None,
        interfaces: Sequence[Interface],
    ) -> None:
        super().__init__(scope, id)
        placement = _TEMPLATE.PlacementProperty(group_name=placement_group) if placement_group else None
        self.template = _TEMPLATE(
            self,
            "Template",
            launch_template_name=f"dure-{base.cluster}-{queue.name}-{zone_id}",
            launch_template_data=_TEMPLATE.LaunchTemplateDataProperty(
                image_id=base.image_id,
                instance_type=queue.instance_type,
                iam_instance_profile=_TEMPLATE.IamInstanceProfileProperty(arn=profile_arn),
                metadata_options=_metadata(),
                monitoring=_TEMPLATE.MonitoringProperty(enabled=True),
                block_device_mappings=[_root(base, queue.root_volume_gib)],
                network_interfaces=[_interface(each, subnet_id, security_group_id) for each in interfaces],
                placement=placement,
                instance_market_options=_market(queue),
                capacity_reservation_specification=_reservation(queue),
                # A spot request is one launch; a node that shuts itself down is gone
                instance_initiated_shutdown_behavior="terminate",
                tag_specifications=_launched_tags(
                    base, role="compute", name=f"dure-{base.cluster}-{queue.name}", queue=queue.name
                ),
                user_data=cdk.Fn.base64(USER_DATA),
            ),
            tag_specifications=[_own_tags(base)],
        )


def _metadata() -> ec2.CfnLaunchTemplate.MetadataOptionsProperty:
    """Sessions only, answers that do not leave the machine, and the instance's tags in them."""
    return _TEMPLATE.MetadataOptionsProperty(
        http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1, instance_metadata_tags="enabled"
    )


def _root(base: MachineBase, size_gib: int) -> ec2.CfnLaunchTemplate.BlockDeviceMappingProperty:
    return _TEMPLATE.BlockDeviceMappingProperty(
        device_name=base.root_device,
        ebs=_TEMPLATE.EbsProperty(
            volume_type="gp3",
            volume_size=size_gib,
            encrypted=True,
            kms_key_id=base.key_arn,
            delete_on_termination=True,
        ),
    )


def _interface(
    interface: Interface, subnet_id: str, security_group_id: str
) -> ec2.CfnLaunchTemplate.NetworkInterfaceProperty:
    return _TEMPLATE.NetworkInterfaceProperty(
        network_card_index=interface.card,
        device_index=interface.device,
        interface_type=interface.kind,
        subnet_id=subnet_id,
        groups=[security_group_id],
        delete_on_termination=True,
    )


def _market(queue: Queue) -> ec2.CfnLaunchTemplate.InstanceMarketOptionsProperty | None:
    if queue.market == "spot":
        return _TEMPLATE.InstanceMarketOptionsProperty(
            market_type="spot",
            spot_options=_TEMPLATE.SpotOptionsProperty(
                spot_instance_type="one-time", instance_interruption_behavior="terminate"
            ),
        )
    if queue.market == "capacity-block":
        return _TEMPLATE.InstanceMarketOptionsProperty(market_type="capacity-block")
    return None


def _reservation(queue: Queue) -> ec2.CfnLaunchTemplate.CapacityReservationSpecificationProperty | None:
    if queue.capacity_reservation_id is None:
        return None
    return _TEMPLATE.CapacityReservationSpecificationProperty(
        capacity_reservation_target=_TEMPLATE.CapacityReservationTargetProperty(
            capacity_reservation_id=queue.capacity_reservation_id
        )
    )


def _launched_tags(
    base: MachineBase, *, role: str, name: str, queue: str = ""
) -> list[ec2.CfnLaunchTemplate.TagSpecificationProperty]:
    """The tags of what a launch makes: instance, volumes and interfaces."""
    extra = {**base.user_tags, **({"dure:queue": queue} if queue else {})}
    return [
        _TEMPLATE.TagSpecificationProperty(
            resource_type=kind, tags=tags(base.cluster, role=role, name=name, extra=extra)
        )
        for kind in ("instance", "volume", "network-interface")
    ]


def _own_tags(base: MachineBase) -> ec2.CfnLaunchTemplate.LaunchTemplateTagSpecificationProperty:
    return _TEMPLATE.LaunchTemplateTagSpecificationProperty(
        resource_type="launch-template", tags=tags(base.cluster, extra=base.user_tags)
    )
