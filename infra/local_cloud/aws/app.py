"""Puts the API together: gateway, plug-ins, moto's own app."""

from __future__ import annotations

import ctypes
import gc
import os
import tempfile
from pathlib import Path
from typing import Any

from infra.local_cloud.aws import budgets, cloudformation, ec2, fsx, iam, pins, s3, servicequotas, ssm, telemetry
from infra.local_cloud.aws.catalogue import STOCK
from infra.local_cloud.aws.cloud import Cloud
from infra.local_cloud.aws.cloudformation.api import OPERATIONS as CLOUDFORMATION
from infra.local_cloud.aws.ec2 import consistency, instances, interfaces, network, security, table, volumes
from infra.local_cloud.aws.gateway import Gateway
from infra.local_cloud.aws.operations import Operations
from infra.local_cloud.machines.api import Machines

_M_MMAP_THRESHOLD = -3  # malloc.h
PLUGINS: tuple[Operations, ...] = (
    budgets.OPERATIONS,
    CLOUDFORMATION,
    ec2.OPERATIONS,
    fsx.OPERATIONS,
    servicequotas.OPERATIONS,
    ssm.OPERATIONS,
    telemetry.OPERATIONS,
)
PREPARATIONS = {
    ("cloudwatch", "PutMetricData"): telemetry.check_metric_data,
    ("iam", "AttachGroupPolicy"): iam.know_managed_policy,
    ("iam", "AttachRolePolicy"): iam.know_managed_policy,
    ("iam", "AttachUserPolicy"): iam.know_managed_policy,
    ("iam", "CreateServiceLinkedRole"): iam.know_linked_role,
    ("iam", "GetPolicy"): iam.know_managed_policy,
    ("iam", "GetPolicyVersion"): iam.know_managed_policy,
    ("ec2", "DescribeImages"): table.know_local_image,
    ("ec2", "DescribeInstanceStatus"): instances.refresh_states,
    ("ec2", "DescribeInstanceAttribute"): instances.refresh_states,
    ("ec2", "CreateTags"): instances.refresh_states,
    ("ec2", "DeleteTags"): instances.refresh_states,
    ("ec2", "ModifyVolume"): volumes.refuse_shrinking,
    ("ec2", "DeleteSubnet"): network.refuse_used_subnet,
    ("ec2", "DeleteSecurityGroup"): network.refuse_used_group,
    ("ec2", "DeleteVpc"): network.refuse_used_vpc,
}
OBSERVERS = {
    **{("ec2", name): security.refresh for name in STOCK["ec2"] if not name.startswith("Describe")},
    ("ec2", "CreateFlowLogs"): iam.judge_flow_logs,
    ("ec2", "DeleteVpcEndpoints"): interfaces.forget_deleted_endpoints,
    ("ec2", "CreateVpcEndpoint"): interfaces.own_endpoint_interfaces,
    ("iam", "CreateInstanceProfile"): consistency.profile_made,
    ("iam", "AddRoleToInstanceProfile"): consistency.profile_made,
    ("s3", "PutObject"): s3.object_written,
    ("s3", "CopyObject"): s3.object_written,
    ("s3", "CompleteMultipartUpload"): s3.upload_completed,
    ("s3", "DeleteObject"): s3.object_deleted,
    ("s3", "DeleteObjects"): s3.objects_deleted,
}

__all__ = ["build_app", "build_cloud", "cloudformation"]


def build_app(machines: Machines, *, state: Path, port: int, enforce_iam: bool = True) -> Gateway:
    """The WSGI app that answers the AWS API, tied to `machines`.

    `state` is a folder for records, command output and large objects; `port` the one that the server listens on;
    without `enforce_iam` roles may do everything.
    Side effects: sets `machines.on_exit`; points tempfile at `state` for S3's objects; replaces what `pins` lists.
    Raises RuntimeError when moto is not the one that the plug-ins were written against.
    """
    gateway = build_cloud(machines, state=state, port=port, enforce_iam=enforce_iam)[1]
    gc.freeze()  # what is loaded by now stays: collections after large uploads need not look at it
    return gateway


def build_cloud(machines: Machines, *, state: Path, port: int, enforce_iam: bool = True) -> tuple[Cloud, Gateway]:
    """`build_app`, with the `Cloud` that tests look into."""
    problems = pins.check()
    if problems:
        raise RuntimeError("moto is not the one that the local cloud was written against: " + "; ".join(problems))
    _give_memory_back()
    moto_app = _moto_app(state)
    s3.install()
    cloud = Cloud(machines, state=state, port=port)
    gateway = Gateway(
        cloud,
        moto_app=moto_app,
        stock=STOCK,
        plugins=PLUGINS,
        preparations=PREPARATIONS,
        observers=OBSERVERS,
        enforcement=iam.Enforcement(cloud, on=enforce_iam),
    )
    cloud.connect(gateway)
    machines.on_exit = lambda instance_id: instances.machine_ended(cloud, instance_id)
    return cloud, gateway


def _give_memory_back() -> None:
    """Let glibc return large blocks when they are freed: S3 bodies come in parts of 8 MB, on many threads."""
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)
    except AttributeError:
        return  # another C library: it has no such setting


def _moto_app(state: Path) -> Any:
    """moto's own WSGI app, its settings made before its modules read them."""
    state.mkdir(parents=True, exist_ok=True)
    objects = state / "objects"
    objects.mkdir(exist_ok=True)
    tempfile.tempdir = str(objects)  # S3 objects over the buffer's size spill into unnamed files here
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"  # images that no machine here could be
    os.environ.setdefault("MOTO_S3_DEFAULT_KEY_BUFFER_SIZE", str(256 * 1024))
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    return DomainDispatcherApplication(create_backend_app)
