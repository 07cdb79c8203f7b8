"""CloudWatch dashboards and alarms, and the topics that alarms tell."""

from __future__ import annotations

import json

from infra.local_cloud.aws.cloudformation.registry import Context, Made, Properties, Registry
from infra.local_cloud.aws.cloudformation.resources.ec2_network import pick
from infra.local_cloud.aws.errors import AwsError

_ALARM = (
    "AlarmName AlarmDescription ActionsEnabled OKActions AlarmActions InsufficientDataActions MetricName Namespace"
    " Statistic ExtendedStatistic Dimensions Period Unit"
    " EvaluationPeriods DatapointsToAlarm Threshold ComparisonOperator"
    " TreatMissingData EvaluateLowSampleCountPercentile Metrics"
)


def _put_dashboard(context: Context, name: str, properties: Properties) -> None:
    body = properties["DashboardBody"]
    try:
        json.loads(body)
    except ValueError as error:
        raise AwsError(
            "InvalidParameterInput", f"The field DashboardBody must be a valid JSON object: {error}"
        ) from error
    found = context.client("cloudwatch").put_dashboard(
        DashboardName=name, DashboardBody=body, **context.tagged(properties.get("Tags"))
    )
    if found.get("DashboardValidationMessages"):
        raise AwsError(
            "InvalidParameterInput", f"The dashboard body is invalid: {found['DashboardValidationMessages']}"
        )


def _create_dashboard(context: Context, properties: Properties) -> Made:
    name = properties.get("DashboardName") or context.name(limit=255)
    _put_dashboard(context, name, properties)
    return Made(name)


def _update_dashboard(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    _put_dashboard(context, made.physical_id, new)
    return made


def _delete_dashboard(context: Context, made: Made, properties: Properties) -> None:
    context.client("cloudwatch").delete_dashboards(DashboardNames=[made.physical_id])


def _put_alarm(context: Context, name: str, properties: Properties) -> Made:
    fields = {key: value for key, value in properties.items() if key not in ("AlarmName", "Tags")}
    context.client("cloudwatch").put_metric_alarm(AlarmName=name, **fields, **context.tagged(properties.get("Tags")))
    return Made(name, {"Arn": context.cloud.arn("cloudwatch", context.region, f"alarm:{name}")})


def _create_alarm(context: Context, properties: Properties) -> Made:
    return _put_alarm(context, properties.get("AlarmName") or context.name(limit=255), properties)


def _update_alarm(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    return _put_alarm(context, made.physical_id, new)


def _delete_alarm(context: Context, made: Made, properties: Properties) -> None:
    context.client("cloudwatch").delete_alarms(AlarmNames=[made.physical_id])


def _create_topic(context: Context, properties: Properties) -> Made:
    sns = context.client("sns")
    name = properties.get("TopicName") or context.name(limit=256)
    attributes = {key: properties[key] for key in ("DisplayName", "KmsMasterKeyId") if key in properties}
    arn = sns.create_topic(Name=name, Attributes=attributes, **context.tagged(properties.get("Tags")))["TopicArn"]
    return Made(arn, {"TopicArn": arn, "TopicName": name})


def _delete_topic(context: Context, made: Made, properties: Properties) -> None:
    context.client("sns").delete_topic(TopicArn=made.physical_id)


def _create_subscription(context: Context, properties: Properties) -> Made:
    arn = context.client("sns").subscribe(**pick(properties, "TopicArn Protocol Endpoint"), ReturnSubscriptionArn=True)
    return Made(arn["SubscriptionArn"], {"Arn": arn["SubscriptionArn"]})


def _delete_subscription(context: Context, made: Made, properties: Properties) -> None:
    context.client("sns").unsubscribe(SubscriptionArn=made.physical_id)


def _put_topic_policy(context: Context, properties: Properties) -> Made:
    for arn in properties["Topics"]:
        context.client("sns").set_topic_attributes(
            TopicArn=arn, AttributeName="Policy", AttributeValue=json.dumps(properties["PolicyDocument"])
        )
    return Made(context.name(), {"Id": context.name()})


def _keep_topic_policy(context: Context, made: Made, properties: Properties) -> None:
    """A topic always has a policy; it goes with the topic, which follows in the same stack."""


def register(registry: Registry) -> None:
    """Add this file's types."""
    add = registry.add
    add(
        "AWS::CloudWatch::Dashboard",
        "DashboardName DashboardBody Tags",
        create=_create_dashboard,
        delete=_delete_dashboard,
        update=_update_dashboard,
    )
    add("AWS::CloudWatch::Alarm", _ALARM + " Tags", create=_create_alarm, delete=_delete_alarm, update=_update_alarm)
    add("AWS::SNS::Topic", "TopicName DisplayName KmsMasterKeyId Tags", create=_create_topic, delete=_delete_topic)
    add(
        "AWS::SNS::Subscription", "TopicArn Protocol Endpoint", create=_create_subscription, delete=_delete_subscription
    )
    add("AWS::SNS::TopicPolicy", "Topics PolicyDocument", create=_put_topic_policy, delete=_keep_topic_policy)
