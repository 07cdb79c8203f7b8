"""Budgets."""

from __future__ import annotations

from typing import Any

from infra.local_cloud.aws.cloudformation.registry import Context, Made, Properties, Registry

_REGION = "us-east-1"  # where the account-wide service answers


def _budget(properties: Properties, name: str) -> dict[str, Any]:
    """The budget as the API takes it: amounts are texts there."""
    found = {**properties["Budget"], "BudgetName": name}
    if "BudgetLimit" in found:
        found["BudgetLimit"] = {**found["BudgetLimit"], "Amount": str(found["BudgetLimit"]["Amount"])}
    return found


def _create_budget(context: Context, properties: Properties) -> Made:
    name = properties["Budget"].get("BudgetName") or context.name(limit=100)
    tags = context.tags(properties.get("ResourceTags"))
    context.cloud.client("budgets", _REGION).create_budget(
        AccountId=context.cloud.account,
        Budget=_budget(properties, name),
        NotificationsWithSubscribers=properties.get("NotificationsWithSubscribers", []),
        **({"ResourceTags": tags} if tags else {}),
    )
    return Made(name)


def _update_budget(context: Context, made: Made, old: Properties, new: Properties) -> Made:
    context.cloud.client("budgets", _REGION).update_budget(
        AccountId=context.cloud.account, NewBudget=_budget(new, made.physical_id)
    )
    return made


def _delete_budget(context: Context, made: Made, properties: Properties) -> None:
    context.cloud.client("budgets", _REGION).delete_budget(AccountId=context.cloud.account, BudgetName=made.physical_id)


def register(registry: Registry) -> None:
    """Add this file's types."""
    registry.add(
        "AWS::Budgets::Budget",
        "Budget NotificationsWithSubscribers ResourceTags",
        create=_create_budget,
        delete=_delete_budget,
        update=_update_budget,
    )
