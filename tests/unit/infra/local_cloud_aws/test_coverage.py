"""The coverage page says what the code does, and the product asks for nothing that is not covered."""

from __future__ import annotations

import ast
from pathlib import Path

import botocore.session
from botocore import xform_name

from infra.local_cloud.aws import coverage
from infra.local_cloud.aws.app import OBSERVERS, PLUGINS, PREPARATIONS
from infra.local_cloud.aws.catalogue import LIMITS, STOCK

ROOT = Path(__file__).resolve().parents[4]
PRODUCT = ("cluster_scripts/backends/aws", "cluster_scripts/node", "monitoring")


def names() -> dict[str, set[str]]:
    """Every operation of the covered services as boto3 spells it, with the services that have it."""
    session = botocore.session.Session()
    found: dict[str, set[str]] = {}
    for service in {*STOCK, *(plugin.service for plugin in PLUGINS)}:
        for operation in session.get_service_model(service).operation_names:
            found.setdefault(xform_name(operation), set()).add(service)
    return found


def called(path: Path) -> set[str]:
    """Names of methods that a source file calls, and those that it names in get_paginator and get_waiter."""
    tree = ast.parse(path.read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    methods = {node.func.attr for node in calls if isinstance(node.func, ast.Attribute)}
    paged = {
        str(node.args[0].value)
        for node in calls
        if isinstance(node.func, ast.Attribute)
        and node.func.attr == "get_paginator"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    return methods | paged


def test_the_page_is_what_the_tables_make() -> None:
    assert coverage.PAGE.read_text() == coverage.render(), "run: python -m infra.local_cloud.aws.coverage"


def test_the_tables_name_real_operations_once() -> None:
    session = botocore.session.Session()
    for service, operation, _ in coverage.operations():
        assert operation in session.get_service_model(service).operation_names, (service, operation)
    for plugin in PLUGINS:
        assert not set(plugin.handlers) & STOCK.get(plugin.service, frozenset()), plugin.service
    for service, operation in {*PREPARATIONS, *OBSERVERS}:
        assert operation in STOCK[service], (service, operation)
    assert {service for service, *_ in coverage.operations()} <= set(LIMITS)


def test_the_product_asks_for_nothing_that_is_not_covered() -> None:
    covered = {(service, xform_name(operation)) for service, operation, _ in coverage.operations()}
    known = names()
    missing: list[str] = []
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for method in called(path) & set(known):
                if not any((service, method) in covered for service in known[method]):
                    missing.append(f"{path.relative_to(ROOT)}: {method} ({', '.join(sorted(known[method]))})")
    assert missing == []
