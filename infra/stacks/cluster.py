"""The machines: head, launch templates of the queues, what they may do, and the facts that tie all together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from infra.config import facts
from infra.config.access.cluster import Place
from infra.config.access.people import Used
from infra.config.schema import ClusterFile, Image, Queue
from infra.constructs.alarms import Alarms
from infra.constructs.command_document import CommandDocuments, document_name, watch_document_name
from infra.constructs.facts_parameter import ClusterFileParameter, FactsParameter
from infra.constructs.head import Head, HeadInterface
from infra.constructs.launch_template import HeadTemplate, MachineBase
from infra.constructs.logs import log_group
from infra.constructs.munge_key import MungeKey
from infra.constructs.naming import jobs_log_group, nodes_log_group
from infra.constructs.people import PeoplePolicies
from infra.constructs.queue import queue_machines
from infra.constructs.roles import Launches, MachineRole, Scope, head_statements, node_statements
from infra.constructs.toolkit_bundle import ToolkitBundle
from infra.stacks.network import NetworkStack
from infra.stacks.storage import StorageStack

METRICS_NAMESPACE = "Dure"
MOUNT_POINT = "/fsx"


class ClusterStack(cdk.Stack):
    """dure-NAME-cluster.

    With `head` false there is no head for the time being: its interface and template stay. CloudFormation makes the
    new machine before it ends the old one, which still holds the interface, so a head is replaced by a deployment
    without and another one with it.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster: ClusterFile,
        network: NetworkStack,
        storage: StorageStack,
        root: Path,
        head: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(scope, id, **options)
        self._cluster, self._network, self._storage = cluster, network, storage
        self._toolkit = ToolkitBundle(self, "Toolkit", root=root)
        self._munge = MungeKey(self, "MungeKey", cluster=cluster.name, key_arn=network.key_arn)
        self._scope = self._machine_scope()
        self._base = MachineBase(
            cluster=cluster.name,
            image_id=self._image_id(cluster.image),
            root_device=cluster.image.root_device,
            key_arn=network.key_arn,
            user_tags=cluster.tags,
        )
        node = MachineRole(
            self,
            "Node",
            description=f"Nodes of the Dure cluster {cluster.name}",
            statements=node_statements(self, self._scope),
        )
        self.queues = tuple(self._queue(queue, profile_arn=node.profile.attr_arn) for queue in cluster.queues)
        CommandDocuments(self, "Commands", cluster=cluster.name)
        PeoplePolicies(self, "People", used=self._used())
        interface = HeadInterface(
            self,
            "HeadInterface",
            cluster=cluster.name,
            subnet_id=network.subnets[cluster.home_zone],
            security_group_id=network.groups.head.attr_group_id,
        )
        # The head reads its facts, and logs, as soon as it boots
        read_at_boot = [*self._log_groups(), *self._parameters(interface)]
        template = self._head_template(node_role_arn=node.role.role_arn)
        alarms = self._alarms()
        if head:
            machine = self._head(interface, template)
            machine.node.add_dependency(*read_at_boot)
            alarms.watch_head(machine.instance.ref)

    def _parameters(self, interface: HeadInterface) -> list[Construct]:
        """What the cluster is, and from which file it was made."""
        owner = {"dure:cluster": self._cluster.name, **self._cluster.tags}
        return [
            FactsParameter(self, "Facts", facts=self._facts(interface), tags=owner),
            ClusterFileParameter(self, "ClusterFile", cluster=self._cluster, tags=owner),
        ]

    def _alarms(self) -> Alarms:
        return Alarms(
            self,
            "Alarms",
            cluster=self._cluster.name,
            file_system_id=self._storage.lustre.file_system.ref,
            capacity_gib=self._cluster.storage.capacity_gib,
            email=self._cluster.monitoring.alarm_email,
        )

    def _head(self, interface: HeadInterface, template: ec2.CfnLaunchTemplate) -> Head:
        return Head(
            self,
            "Head",
            cluster=self._cluster.name,
            instance_type=self._cluster.head.instance_type,
            interface=interface,
            template=template,
            user_tags=self._cluster.tags,
        )

    def _machine_scope(self) -> Scope:
        return Scope(
            cluster=self._cluster.name,
            bucket_arn=cdk.Fn.import_value(self._storage.bucket_arn_export),
            key_arn=self._network.key_arn,
            secret_arn=self._munge.arn,
            toolkit_bucket=self._toolkit.bucket,
            toolkit_key=self._toolkit.key,
            metrics_namespace=METRICS_NAMESPACE,
            state_volume_id=self._state_volume_id,
        )

    @property
    def _state_volume_id(self) -> str:
        return cdk.Fn.import_value(self._storage.state_volume_export)

    def _used(self) -> Used:
        """What of the cluster people touch who submit to it or watch it."""
        return Used(
            place=Place(self._cluster.name, self._cluster.region, self.account, self.partition),
            bucket_arn=self._scope.bucket_arn,
            key_arn=self._scope.key_arn,
            jobs_log_group=jobs_log_group(self._cluster.name),
            document=document_name(self._cluster.name),
            watch_document=watch_document_name(self._cluster.name),
            prefixes=[each.prefix for each in self._cluster.storage.associations],
        )

    def _image_id(self, image: Image) -> str:
        """The image's id; one that a parameter holds is read by CloudFormation at each deployment."""
        if image.ami is not None:
            return image.ami
        parameter = cdk.CfnParameter(
            self, "Image", type="AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>", default=image.ssm_parameter
        )
        return parameter.value_as_string

    def _queue(self, queue: Queue, *, profile_arn: str) -> facts.Queue:
        return queue_machines(
            self,
            base=self._base,
            queue=queue,
            subnets={zone: self._network.subnets[zone] for zone in self._cluster.queue_zones(queue)},
            security_group_id=self._network.groups.nodes.attr_group_id,
            profile_arn=profile_arn,
        )

    def _log_groups(self) -> list[cdk.CfnResource]:
        """The groups that the machines write to; they may write, not make them."""
        names = {"JobsLog": jobs_log_group(self._cluster.name), "NodesLog": nodes_log_group(self._cluster.name)}
        return [
            log_group(
                self,
                id,
                cluster=self._cluster.name,
                name=name,
                key_arn=self._network.key_arn,
                retention_days=self._cluster.monitoring.log_retention_days,
            )
            for id, name in names.items()
        ]

    def _facts(self, interface: HeadInterface) -> facts.Facts:
        cluster, lustre = self._cluster, self._storage.lustre.file_system
        associations = tuple(
            facts.Association(path=each.path, prefix=each.prefix) for each in cluster.storage.associations
        )
        return facts.Facts(
            name=cluster.name,
            region=cluster.region,
            account=self.account,
            bucket=self._storage.bucket.bucket_name,
            file_system=facts.FileSystem(
                id=lustre.ref,
                dns_name=lustre.attr_dns_name,
                mount_name=lustre.attr_lustre_mount_name,
                mount_point=MOUNT_POINT,
                associations=associations,
            ),
            head=facts.Head(
                private_ip=interface.private_ip,
                host_name=interface.host_name,
                state_volume=self._state_volume_id,
            ),
            queues=self.queues,
            munge_secret=self._munge.arn,
            log_groups=facts.LogGroups(jobs=jobs_log_group(cluster.name), nodes=nodes_log_group(cluster.name)),
            document=document_name(cluster.name),
            metrics_namespace=METRICS_NAMESPACE,
            toolkit=facts.Toolkit(bucket=self._toolkit.bucket, key=self._toolkit.key, sha256=self._toolkit.sha256),
            slurm=facts.SlurmTimes(
                resume_timeout_seconds=cluster.slurm.resume_timeout_seconds,
                suspend_timeout_seconds=cluster.slurm.suspend_timeout_seconds,
            ),
            monitoring=facts.Monitoring(interval_seconds=cluster.monitoring.interval_seconds),
        )

    def _head_template(self, *, node_role_arn: str) -> ec2.CfnLaunchTemplate:
        templates = [each for queue in self.queues for each in queue.launch_templates]
        launches = Launches(
            node_role_arn=node_role_arn,
            template_ids=tuple(each.launch_template_id for each in templates),
            subnet_ids=tuple(dict.fromkeys(each.subnet_id for each in templates)),
            security_group_id=self._network.groups.nodes.attr_group_id,
            placement_groups=tuple(queue.placement_group for queue in self.queues if queue.placement_group),
            reservation_ids=tuple(
                queue.capacity_reservation_id for queue in self._cluster.queues if queue.capacity_reservation_id
            ),
        )
        role = MachineRole(
            self,
            "HeadRole",
            description=f"Head of the Dure cluster {self._cluster.name}",
            statements=head_statements(self, self._scope, launches),
        )
        return HeadTemplate(
            self,
            "HeadTemplate",
            base=self._base,
            profile_arn=role.profile.attr_arn,
            root_volume_gib=self._cluster.head.root_volume_gib,
        ).template
