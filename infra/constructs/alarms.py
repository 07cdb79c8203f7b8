"""The alarms of a cluster: a head that is not well, and a file system that fills up."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.constructs.naming import tags

# Below this share of free space FSx for Lustre begins to suffer, and jobs soon fail
FREE_SHARE = 0.1


class Alarms(Construct):
    """Alarms, told by mail where the cluster file names an address.

    A head whose hardware fails is moved to other hardware by EC2 itself, with the same id, address and volumes; there
    it boots as after a reboot, and dure-boot.service makes it the head again. Types with instance store are not moved.
    A head whose system hangs is rebooted. EC2's guide asks for different numbers of minutes, so that a head which fails
    both checks is moved and not rebooted meanwhile.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster: str,
        file_system_id: str,
        capacity_gib: int,
        email: str | None,
    ) -> None:
        super().__init__(scope, id)
        self._cluster = cluster
        self._told = [self._topic(email)] if email is not None else []
        self._full(file_system_id, capacity_gib)

    def watch_head(self, head_id: str) -> None:
        """Add the alarms on a head."""
        stack = cdk.Stack.of(self)
        action = f"arn:{stack.partition}:automate:{stack.region}:ec2"
        self._on_head(
            "HeadHardware",
            head_id,
            metric="StatusCheckFailed_System",
            what="the head's hardware fails; EC2 moves it",
            minutes=2,
            action=f"{action}:recover",
        )
        self._on_head(
            "HeadSystem",
            head_id,
            metric="StatusCheckFailed_Instance",
            what="the head's system does not answer; EC2 reboots it",
            minutes=3,
            action=f"{action}:reboot",
        )

    def _topic(self, email: str) -> str:
        """The topic that mails. It is not encrypted: alarms carry no secrets, and CloudWatch could not write to it."""
        topic = sns.CfnTopic(self, "Topic", topic_name=f"dure-{self._cluster}-alarms", tags=tags(self._cluster))
        refused = iam.PolicyStatement(
            sid="OnlyByTls",
            effect=iam.Effect.DENY,
            principals=[iam.AnyPrincipal()],
            actions=["sns:Publish"],
            resources=[topic.ref],
            conditions={"Bool": {"aws:SecureTransport": "false"}},
        )
        stack = cdk.Stack.of(self)
        alarms = iam.PolicyStatement(
            sid="AlarmsOfThisAccount",
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
            actions=["sns:Publish"],
            resources=[topic.ref],
            conditions={"StringEquals": {"aws:SourceAccount": stack.account}},
        )
        sns.CfnTopicPolicy(
            self, "TopicPolicy", topics=[topic.ref], policy_document=iam.PolicyDocument(statements=[refused, alarms])
        )
        sns.CfnSubscription(self, "Mail", topic_arn=topic.ref, protocol="email", endpoint=email)
        return topic.ref

    def _on_head(self, id: str, head_id: str, *, metric: str, what: str, minutes: int, action: str) -> None:
        cloudwatch.CfnAlarm(
            self,
            id,
            alarm_name=f"dure-{self._cluster}-{id}",
            alarm_description=f"Dure cluster {self._cluster}: {what}",
            namespace="AWS/EC2",
            metric_name=metric,
            dimensions=[cloudwatch.CfnAlarm.DimensionProperty(name="InstanceId", value=head_id)],
            statistic="Maximum",
            period=60,
            evaluation_periods=minutes,
            threshold=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="missing",
            alarm_actions=[action, *self._told],
            tags=tags(self._cluster),
        )

    def _full(self, file_system_id: str, capacity_gib: int) -> None:
        """FSx reports the free space of each of its servers; the sum over a minute is that of the file system."""
        cloudwatch.CfnAlarm(
            self,
            "FileSystemFull",
            alarm_name=f"dure-{self._cluster}-FileSystemFull",
            alarm_description=f"Dure cluster {self._cluster}: less than {FREE_SHARE:.0%} of the file system is free",
            namespace="AWS/FSx",
            metric_name="FreeDataStorageCapacity",
            dimensions=[cloudwatch.CfnAlarm.DimensionProperty(name="FileSystemId", value=file_system_id)],
            statistic="Sum",
            period=60,
            evaluation_periods=5,
            threshold=round(capacity_gib * 2**30 * FREE_SHARE),
            comparison_operator="LessThanThreshold",
            treat_missing_data="missing",
            alarm_actions=list(self._told),
            tags=tags(self._cluster),
        )
