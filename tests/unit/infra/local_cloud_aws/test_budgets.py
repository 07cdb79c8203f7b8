"""A budget as a stack makes it: created, changed, removed; what AWS refuses."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.infra.local_cloud_aws.conftest import Api

ACCOUNT = "123456789012"


def budget(amount: float = 500, **more: Any) -> dict[str, Any]:
    data = {
        "BudgetName": "dure-x",
        "BudgetType": "COST",
        "TimeUnit": "MONTHLY",
        "BudgetLimit": {"Amount": amount, "Unit": "USD"},
        "CostFilters": {"TagKeyValue": ["user:dure:cluster$x"]},
    }
    told = {
        "Notification": {
            "ComparisonOperator": "GREATER_THAN",
            "NotificationType": "ACTUAL",
            "Threshold": 80,
            "ThresholdType": "PERCENTAGE",
        },
        "Subscribers": [{"Address": "someone@example.com", "SubscriptionType": "EMAIL"}],
    }
    properties = {"Budget": data, "NotificationsWithSubscribers": [told], **more}
    return {"Budget": {"Type": "AWS::Budgets::Budget", "Properties": properties}}


def there(api: Api) -> list[dict[str, Any]]:
    found = api.client("budgets").describe_budgets(AccountId=ACCOUNT)["Budgets"]
    return [dict(each) for each in found]


def test_a_stack_makes_changes_and_removes_it(api: Api) -> None:
    tags = [{"Key": "dure:cluster", "Value": "x"}]
    outputs = {"Name": {"Value": {"Ref": "Budget"}}}
    assert api.deploy("one", budget(ResourceTags=tags), Outputs=outputs)["StackStatus"] == "CREATE_COMPLETE"
    assert api.outputs("one") == {"Name": "dure-x"}
    (made,) = there(api)
    assert made["BudgetLimit"] == {"Amount": "500", "Unit": "USD"}
    client = api.client("budgets")
    (told,) = client.describe_notifications_for_budget(AccountId=ACCOUNT, BudgetName="dure-x")["Notifications"]
    people = client.describe_subscribers_for_notification(AccountId=ACCOUNT, BudgetName="dure-x", Notification=told)
    assert [each["Address"] for each in people["Subscribers"]] == ["someone@example.com"]
    assert api.deploy("one", budget(750), update=True)["StackStatus"] == "UPDATE_COMPLETE"
    assert [each["BudgetLimit"]["Amount"] for each in there(api)] == ["750"]
    assert api.destroy("one") == "DELETE_COMPLETE"
    assert there(api) == []


def test_other_subscribers_make_a_new_budget_which_a_fixed_name_forbids(api: Api) -> None:
    """Why infra/constructs/budget.py gives no name."""
    api.deploy("one", budget())
    other = budget()
    other["Budget"]["Properties"]["NotificationsWithSubscribers"][0]["Subscribers"][0]["Address"] = "else@example.com"
    assert api.deploy("one", other, update=True)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    unnamed = budget()
    del unnamed["Budget"]["Properties"]["Budget"]["BudgetName"]
    api.deploy("two", unnamed)
    before = {each["BudgetName"] for each in there(api)}
    del other["Budget"]["Properties"]["Budget"]["BudgetName"]
    assert api.deploy("two", other, update=True)["StackStatus"] == "UPDATE_COMPLETE"
    assert len({each["BudgetName"] for each in there(api)} - before) == 1
    assert len(there(api)) == 2


def test_a_name_that_is_taken_and_a_budget_without_a_limit_roll_back(api: Api) -> None:
    api.deploy("one", budget())
    api.deploy("two", budget())
    assert "the budget already exists" in "\n".join(reason for *_, reason in api.events("two"))
    resources = budget()
    del resources["Budget"]["Properties"]["Budget"]["BudgetLimit"]
    resources["Budget"]["Properties"]["Budget"]["BudgetName"] = "dure-y"
    assert api.deploy("three", resources)["StackStatus"] == "ROLLBACK_COMPLETE"
    assert len(there(api)) == 1


def test_what_is_not_there_is_not_found(api: Api) -> None:
    client = api.client("budgets")
    for ask in (client.describe_budget, client.delete_budget):
        with pytest.raises(ClientError, match="NotFoundException"):
            ask(AccountId=ACCOUNT, BudgetName="none")
    with pytest.raises(ClientError, match="AccessDenied"):
        client.describe_budgets(AccountId="999999999999")
