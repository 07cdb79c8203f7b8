"""The head: the machine that runs Slurm's controller, on an address that is known before it boots."""

from __future__ import annotations

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from infra.constructs.acknowledged import acknowledge
from infra.constructs.naming import tags


class HeadInterface(Construct):
    """The head's network interface. It stands before the head, so that the facts can name its address."""

    def __init__(self, scope: Construct, id: str, *, cluster: str, subnet_id: str, security_group_id: str) -> None:
        super().__init__(scope, id)
        self.interface = ec2.CfnNetworkInterface(
            self,
            "Interface",
            description=f"Head of the Dure cluster {cluster}",
            subnet_id=subnet_id,
            group_set=[security_group_id],
            tags=tags(cluster, role="head", name=f"dure-{cluster}-head"),
        )

    @property
    def private_ip(self) -> str:
        """The head's address."""
        return self.interface.attr_primary_private_ip_address

    @property
    def host_name(self) -> str:
        """The name that EC2 gives to a machine with this address: ip-10-0-0-10."""
        return "ip-" + cdk.Fn.join("-", cdk.Fn.split(".", self.private_ip))


class Head(Construct):
    """The head instance. Image, role, volumes, metadata options and user data come from its launch template."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster: str,
        instance_type: str,
        interface: HeadInterface,
        template: ec2.CfnLaunchTemplate,
        user_tags: Mapping[str, str],
    ) -> None:
        super().__init__(scope, id)
        self.instance = ec2.CfnInstance(
            self,
            "Instance",
            instance_type=instance_type,
            monitoring=True,
            launch_template=ec2.CfnInstance.LaunchTemplateSpecificationProperty(
                launch_template_id=template.ref, version=template.attr_latest_version_number
            ),
            network_interfaces=[
                ec2.CfnInstance.NetworkInterfaceProperty(device_index="0", network_interface_id=interface.interface.ref)
            ],
            tags=tags(cluster, role="head", name=f"dure-{cluster}-head", extra=user_tags),
        )
        acknowledge(
            self,
            {
                "EC26": "The volumes are in the launch template, encrypted under the cluster's key.",
                "EC29": "The cluster file's `protect` protects the whole stack; an instance that alone refuses to be "
                "deleted would only leave a stack half deleted.",
            },
        )
