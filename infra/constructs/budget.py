"""A monthly limit for a cluster: a warning by mail, before the bill."""

from __future__ import annotations

from aws_cdk import aws_budgets as budgets
from constructs import Construct

_BUDGET = budgets.CfnBudget


class MonthlyBudget(Construct):
    """Counts what carries the cluster's tag (which must be activated once as a cost allocation tag in the account).

    CloudFormation names it: another address makes a new budget before the old one goes, which a name of ours would
    forbid.
    """

    def __init__(self, scope: Construct, id: str, *, cluster: str, usd: float, email: str) -> None:
        super().__init__(scope, id)
        _BUDGET(
            self,
            "Budget",
            budget=_BUDGET.BudgetDataProperty(
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=_BUDGET.SpendProperty(amount=usd, unit="USD"),
                cost_filters={"TagKeyValue": [f"user:dure:cluster${cluster}"]},
            ),
            notifications_with_subscribers=[
                _told(email, kind="ACTUAL", percent=80),
                _told(email, kind="FORECASTED", percent=100),
            ],
        )


def _told(email: str, *, kind: str, percent: float) -> budgets.CfnBudget.NotificationWithSubscribersProperty:
    return _BUDGET.NotificationWithSubscribersProperty(
        notification=_BUDGET.NotificationProperty(
            comparison_operator="GREATER_THAN", notification_type=kind, threshold=percent, threshold_type="PERCENTAGE"
        ),
        subscribers=[_BUDGET.SubscriberProperty(address=email, subscription_type="EMAIL")],
    )
