"""Service Quotas: the values that the account has, which launches are held to (EC2's) and `faults.json` can lower."""

from __future__ import annotations

from typing import Any

from infra.local_cloud.aws import scripted
from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Answer, Call, Operations

OPERATIONS = Operations("service-quotas")
# service, code: name, value here, AWS's value for a new account. The account here has asked for its GPUs already
QUOTAS: dict[tuple[str, str], tuple[str, float, float]] = {
    ("ec2", "L-417A185B"): ("Running On-Demand P instances", 4096, 0),
    ("ec2", "L-7212CCBC"): ("All P4, P3 and P2 Spot Instance Requests", 4096, 0),
    ("ec2", "L-DB2E81BA"): ("Running On-Demand G and VT instances", 4096, 0),
    ("ec2", "L-3819A6DF"): ("All G and VT Spot Instance Requests", 4096, 0),
    ("ec2", "L-1216C47A"): ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 4096, 5),
    ("ec2", "L-34B43A08"): ("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 4096, 5),
    ("vpc", "L-F678F1CE"): ("VPCs per Region", 100, 5),
}


def value(cloud: Cloud, service: str, code: str) -> float:
    """The account's value of a quota; `faults.json` may say another. Raises KeyError for one that is not here."""
    scripted_value = scripted.read(cloud).quotas.get(code)
    return QUOTAS[service, code][1] if scripted_value is None else scripted_value


def _view(cloud: Cloud, call: Call, code: str, number: float) -> dict[str, Any]:
    service = call.params["ServiceCode"]
    return {
        "ServiceCode": service,
        "ServiceName": service,
        "QuotaArn": cloud.arn("servicequotas", call.region, f"{service}/{code}"),
        "QuotaCode": code,
        "QuotaName": QUOTAS[service, code][0],
        "Value": number,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }


def _known(call: Call) -> tuple[str, str]:
    key = (call.params["ServiceCode"], call.params["QuotaCode"])
    if key not in QUOTAS:
        raise AwsError("NoSuchResourceException", "The request failed because the specified quota does not exist.")
    return key


@OPERATIONS.add("GetServiceQuota")
def get_service_quota(cloud: Cloud, call: Call) -> Answer:
    service, code = _known(call)
    return {"Quota": _view(cloud, call, code, value(cloud, service, code))}


@OPERATIONS.add("GetAWSDefaultServiceQuota")
def get_default_service_quota(cloud: Cloud, call: Call) -> Answer:
    service, code = _known(call)
    return {"Quota": _view(cloud, call, code, QUOTAS[service, code][2])}


@OPERATIONS.add("ListServiceQuotas")
def list_service_quotas(cloud: Cloud, call: Call) -> Answer:
    wanted = call.params["ServiceCode"]
    found = [code for service, code in QUOTAS if service == wanted]
    if not found:
        raise AwsError("NoSuchResourceException", "The request failed because the specified service does not exist.")
    return {"Quotas": [_view(cloud, call, code, value(cloud, wanted, code)) for code in found]}
