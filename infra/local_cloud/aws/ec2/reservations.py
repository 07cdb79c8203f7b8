"""Capacity reservations: machines of one type that are kept free in one zone, until their end or cancellation."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.ec2.table import OPERATIONS, backend, dry_run, tags_of
from infra.local_cloud.aws.errors import AwsError
from infra.local_cloud.aws.operations import Answer, Call


class Reservations:
    """A region's reservations by id."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def find(self, identity: str) -> dict[str, Any]:
        """A reservation as it is now; after its end it is expired. Raises InvalidCapacityReservationId.NotFound."""
        if identity not in self.rows:
            raise AwsError(
                "InvalidCapacityReservationId.NotFound", f"The capacity reservation ID '{identity}' does not exist"
            )
        row = self.rows[identity]
        end = row.get("EndDate")
        if row["State"] == "active" and end and end.replace(tzinfo=UTC) <= datetime.now(UTC):  # the wire's are UTC
            row["State"] = "expired"
        return row


@OPERATIONS.add("CreateCapacityReservation")
def create_reservation(cloud: Cloud, call: Call) -> Answer:
    params = call.params
    if params["InstanceType"] not in INSTANCE_TYPES:
        raise AwsError("InvalidParameterValue", f"Invalid value '{params['InstanceType']}' for InstanceType.")
    zones = {str(zone.name): str(zone.zone_id) for zone in backend(call.region).describe_availability_zones()}
    by_id = {zone: name for name, zone in zones.items()}
    name = params.get("AvailabilityZone") or by_id.get(params.get("AvailabilityZoneId", ""), "")
    if name not in zones:
        raise AwsError("InvalidParameterValue", f"Invalid availability zone: [{name}]")
    dry_run(params)
    identity = f"cr-{uuid.uuid4().hex[:17]}"
    row = {
        "CapacityReservationId": identity,
        "OwnerId": cloud.account,
        "CapacityReservationArn": cloud.arn("ec2", call.region, f"capacity-reservation/{identity}"),
        "InstanceType": params["InstanceType"],
        "InstancePlatform": params["InstancePlatform"],
        "AvailabilityZone": name,
        "AvailabilityZoneId": zones[name],
        "Tenancy": params.get("Tenancy", "default"),
        "TotalInstanceCount": params["InstanceCount"],
        "AvailableInstanceCount": params["InstanceCount"],
        "State": "active",
        "StartDate": datetime.now(UTC),
        "CreateDate": datetime.now(UTC),
        "EndDateType": params.get("EndDateType", "unlimited"),
        "InstanceMatchCriteria": params.get("InstanceMatchCriteria", "open"),
        "Tags": [{"Key": k, "Value": v} for k, v in tags_of(params, "capacity-reservation").items()],
        **({"EndDate": params["EndDate"]} if "EndDate" in params else {}),
    }
    cloud.store(Reservations, call.region).rows[identity] = row
    return {"CapacityReservation": row}


@OPERATIONS.add("DescribeCapacityReservations")
def describe_reservations(cloud: Cloud, call: Call) -> Answer:
    state = cloud.store(Reservations, call.region)
    if call.params.get("Filters"):
        raise AwsError("NotImplemented", "DescribeCapacityReservations: filters are not modelled", status=501)
    wanted = call.params.get("CapacityReservationIds") or list(state.rows)
    return {"CapacityReservations": [state.find(identity) for identity in wanted]}


@OPERATIONS.add("CancelCapacityReservation")
def cancel_reservation(cloud: Cloud, call: Call) -> Answer:
    row = cloud.store(Reservations, call.region).find(call.params["CapacityReservationId"])
    dry_run(call.params)
    row["State"] = "cancelled"
    return {"Return": True}


def check(cloud: Cloud, region: str, data: dict[str, Any]) -> None:
    """Refuse a launch into a reservation that is none, is not active, or is of another type. Its count is not kept."""
    target = (data.get("CapacityReservationSpecification") or {}).get("CapacityReservationTarget") or {}
    identity = target.get("CapacityReservationId")
    if identity is None:
        return
    row = cloud.store(Reservations, region).find(identity)
    if row["State"] != "active":
        raise AwsError("InvalidCapacityReservationState", f"The reservation {identity} is {row['State']}, not active")
    if row["InstanceType"] != data["InstanceType"]:
        raise AwsError(
            "InvalidParameterValue",
            f"The reservation {identity} is for {row['InstanceType']}, not for {data['InstanceType']}",
        )
