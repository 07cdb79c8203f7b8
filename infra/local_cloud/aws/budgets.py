"""AWS Budgets: budgets with their notifications, as records. Nothing is counted against them and nobody is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Answer, Call, Operations

OPERATIONS = Operations("budgets")
# Budgets belong to the account, not to a region
_GLOBAL = "global"
# Source: Budgets API, CreateBudget
MAX_NOTIFICATIONS, MAX_EMAILS, MAX_TOPICS = 10, 10, 1


@dataclass
class Record:
    """One budget, its notifications in their order, and each one's subscribers."""

    budget: dict[str, Any]
    notifications: list[dict[str, Any]] = field(default_factory=list)


class BudgetsState:
    """The account's budgets by name."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}

    def record(self, name: str) -> Record:
        """A budget by name. Raises NotFoundException."""
        if name not in self.records:
            raise AwsError("NotFoundException", f"Unable to get budget: {name} - the budget doesn't exist.")
        return self.records[name]


def _state(cloud: Cloud, call: Call) -> BudgetsState:
    if call.params["AccountId"] != cloud.account:
        raise AwsError("AccessDeniedException", f"Account {call.params['AccountId']} is not yours.")
    return cloud.store(BudgetsState, _GLOBAL)


@OPERATIONS.add("CreateBudget")
def create_budget(cloud: Cloud, call: Call) -> Answer:
    state, budget = _state(cloud, call), call.params["Budget"]
    name = budget["BudgetName"]
    if name in state.records:
        raise AwsError("DuplicateRecordException", f"Error creating budget: {name} - the budget already exists.")
    _check(budget)
    notifications = list(call.params.get("NotificationsWithSubscribers", []))
    _check_notifications(notifications)
    state.records[name] = Record(budget, notifications)
    return {}


def _check(budget: dict[str, Any]) -> None:
    limit = budget.get("BudgetLimit")
    if limit is None and not budget.get("PlannedBudgetLimits") and not budget.get("AutoAdjustData"):
        raise AwsError(
            "InvalidParameterException",
            "Unable to create/update budget - please provide one of the followings: Budget Limit/ Planned Budget Limit/"
            " Auto Adjust Data",
        )
    try:
        fine = limit is None or float(limit["Amount"]) > 0
    except ValueError:
        fine = False
    if not fine:
        raise AwsError("InvalidParameterException", "Budget limit amount must be a positive number")


def _check_notifications(notifications: list[dict[str, Any]]) -> None:
    if len(notifications) > MAX_NOTIFICATIONS:
        raise AwsError("CreationLimitExceededException", f"A budget has at most {MAX_NOTIFICATIONS} notifications")
    seen: list[dict[str, Any]] = []
    for each in notifications:
        if each["Notification"] in seen:
            raise AwsError("DuplicateRecordException", "A notification is given twice")
        seen.append(each["Notification"])
        kinds = [subscriber["SubscriptionType"] for subscriber in each["Subscribers"]]
        if kinds.count("EMAIL") > MAX_EMAILS or kinds.count("SNS") > MAX_TOPICS:
            raise AwsError("CreationLimitExceededException", "A notification has too many subscribers")


@OPERATIONS.add("UpdateBudget")
def update_budget(cloud: Cloud, call: Call) -> Answer:
    budget = call.params["NewBudget"]
    record = _state(cloud, call).record(budget["BudgetName"])
    _check(budget)
    record.budget = budget
    return {}


@OPERATIONS.add("DeleteBudget")
def delete_budget(cloud: Cloud, call: Call) -> Answer:
    state, name = _state(cloud, call), call.params["BudgetName"]
    state.record(name)
    del state.records[name]
    return {}


@OPERATIONS.add("DescribeBudget")
def describe_budget(cloud: Cloud, call: Call) -> Answer:
    return {"Budget": _state(cloud, call).record(call.params["BudgetName"]).budget}


@OPERATIONS.add("DescribeBudgets")
def describe_budgets(cloud: Cloud, call: Call) -> Answer:
    return {"Budgets": [record.budget for record in _state(cloud, call).records.values()]}


@OPERATIONS.add("DescribeNotificationsForBudget")
def describe_notifications(cloud: Cloud, call: Call) -> Answer:
    record = _state(cloud, call).record(call.params["BudgetName"])
    return {"Notifications": [each["Notification"] for each in record.notifications]}


@OPERATIONS.add("DescribeSubscribersForNotification")
def describe_subscribers(cloud: Cloud, call: Call) -> Answer:
    wanted = call.params["Notification"]
    for each in _state(cloud, call).record(call.params["BudgetName"]).notifications:
        found = each["Notification"]
        if all(found.get(key) == value for key, value in wanted.items() if key != "NotificationState"):
            return {"Subscribers": each["Subscribers"]}
    raise AwsError("NotFoundException", "Unable to get subscribers - the notification doesn't exist.")
