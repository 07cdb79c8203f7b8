"""The role by which VPC flow logs write: AWS takes any, and says later, on the flow log itself, that it may not."""

from __future__ import annotations

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.ec2.table import backend
from infra.local_cloud.aws.iam.callers import documents
from infra.local_cloud.aws.iam.policy import Question, decide
from infra.local_cloud.aws.iam.trust import trusts
from infra.local_cloud.aws.operations import Call

SERVICE = "vpc-flow-logs.amazonaws.com"
_WRITE = ("logs:CreateLogStream", "logs:PutLogEvents")


def judge_flow_logs(cloud: Cloud, call: Call) -> None:
    """After CreateFlowLogs: mark those whose role does not trust the service, or may not write to the group."""
    role, group = call.params.get("DeliverLogsPermissionArn"), call.params.get("LogGroupName")
    if not role or not group:
        return
    stream = cloud.arn("logs", call.region, f"log-group:{group}:log-stream:any")
    source = cloud.arn("ec2", call.region, "vpc-flow-log/any")
    held = documents(role)
    if trusts(role, SERVICE, source=source) and all(decide(held, Question(each, stream)).allowed for each in _WRITE):
        return
    for flow_log in backend(call.region).flow_logs.values():
        if flow_log.deliver_logs_permission_arn == role and flow_log.log_group_name == group:
            flow_log.deliver_logs_status = "FAILED"
            flow_log.deliver_logs_error_message = "Access error"
