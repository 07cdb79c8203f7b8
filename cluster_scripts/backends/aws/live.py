"""Asks AWS whether a cluster file can be launched in this account: what `dure check --live` shows. Nothing is made.

    for step in FREE_STEPS:
        for answer in STEPS[step](aws, cluster): ...

Each question is one of infra.config.live; what AWS does not let us ask is "unknown", never a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from cluster_scripts.backends.aws.asking import Answer, asked, fails, passes, unknown
from cluster_scripts.backends.aws.dry_run import image_id, launches
from cluster_scripts.backends.aws.errors import code_of, translated
from cluster_scripts.backends.aws.room import room
from cluster_scripts.backends.aws.session import Aws
from infra.config.live import FreeStep, ServiceRole, service_roles
from infra.config.schema import ClusterFile

ARCHITECTURE = "x86_64"
# Where `cdk bootstrap` notes its version, under the CDK's default qualifier
BOOTSTRAP = "/cdk-bootstrap/hnb659fds/version"


def identity(aws: Aws, cluster: ClusterFile) -> Iterator[Answer]:
    """Who asks, and what of the file the account knows: zones, types, the image, roles, FSx."""
    try:
        caller = aws.sts.get_caller_identity()
    except (ClientError, BotoCoreError) as error:
        # without an identity no other question can be asked
        yield fails("live-identity", "credentials", str(translated(error, "asking AWS who you are")))
        return
    yield passes("live-identity", "credentials", f"{caller['Arn']} in account {caller['Account']}")
    yield from asked("live-zone", "zones", partial(_zones, aws, cluster), permission="ec2:DescribeAvailabilityZones")
    yield from asked(
        "live-type", "instance types", partial(_types, aws, cluster), permission="ec2:DescribeInstanceTypeOfferings"
    )
    yield from asked(
        "live-image", "image", partial(_image, aws, cluster), permission="ssm:GetParameter and ec2:DescribeImages"
    )
    bootstrap = partial(_bootstrap, aws, caller["Account"])
    yield from asked("live-bootstrap", "CDK bootstrap", bootstrap, permission="ssm:GetParameter")
    for role in service_roles(cluster):
        yield from asked("live-role", role.name, partial(_role, aws, role), permission="iam:GetRole")
    yield from asked("live-storage", "FSx for Lustre", partial(_storage, aws), permission="fsx:DescribeFileSystems")


STEPS: Mapping[FreeStep, Callable[[Aws, ClusterFile], Iterator[Answer]]] = {
    "identity": identity,
    "quotas": room,
    "dry-run": launches,
}


def _zones(aws: Aws, cluster: ClusterFile) -> Iterator[Answer]:
    answer = aws.ec2.describe_availability_zones(AllAvailabilityZones=True)
    zones = {each.get("ZoneId", ""): each for each in answer["AvailabilityZones"]}
    for name in cluster.zones:
        found = zones.get(name)
        if found is None:
            known = ", ".join(sorted(zone for zone in zones if zone))
            yield fails("live-zone", name, f"this account has no such zone in {cluster.region}", f"it has {known}")
        elif found.get("OptInStatus") == "not-opted-in":
            fix = f"aws ec2 modify-availability-zone-group --group-name {found.get('GroupName', name)} --opt-in-status "
            yield fails("live-zone", name, "the account has not opted into it", f"{fix}opted-in")
        elif (state := str(found.get("State", "available"))) != "available":
            yield fails("live-zone", name, f"its state is {state}", "take another zone, or wait")
        else:
            yield passes("live-zone", name, f"is {found.get('ZoneName', '')} here")


def _types(aws: Aws, cluster: ClusterFile) -> Iterator[Answer]:
    wanted: dict[str, list[str]] = {cluster.head.instance_type: [cluster.home_zone]}
    for queue in cluster.queues:
        for name in (queue.instance_type, *queue.fallback_types):
            wanted.setdefault(name, []).extend(cluster.queue_zones(queue))
    filters = [{"Name": "instance-type", "Values": sorted(wanted)}]
    pages = aws.ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone-id",
        Filters=filters,  # type: ignore[arg-type]
    )
    offered = {
        (str(each["InstanceType"]), str(each["Location"])) for page in pages for each in page["InstanceTypeOfferings"]
    }
    for name, zones in wanted.items():
        missing = [zone for zone in dict.fromkeys(zones) if (name, zone) not in offered]
        if missing:
            there = sorted(zone for kind, zone in offered if kind == name)
            where = f"it is offered in {', '.join(there)}" if there else f"it is nowhere in {cluster.region}"
            yield fails("live-type", name, f"EC2 does not offer it in {', '.join(missing)}", where)
        else:
            yield passes("live-type", name, f"is offered in {', '.join(dict.fromkeys(zones))}")


def _image(aws: Aws, cluster: ClusterFile) -> Iterator[Answer]:
    what = cluster.image.ami or f"parameter {cluster.image.ssm_parameter}"
    try:
        identity = image_id(aws, cluster)
        images = aws.ec2.describe_images(ImageIds=[identity])["Images"]
    except ClientError as error:
        code = code_of(error)
        if code == "ParameterNotFound":
            fix = "put an image's id there (type String), or name another parameter under image.ssm_parameter"
            yield fails("live-image", what, f"there is no such parameter in {aws.region}", fix)
        elif code.startswith("InvalidAMIID"):
            yield fails("live-image", what, f"this account sees no image {identity} in {aws.region} ({code})")
        else:
            raise
        return
    if not images:
        yield fails("live-image", what, f"this account sees no image {identity} in {aws.region}")
        return
    wrong = []
    for key, wanted in (
        ("State", "available"),
        ("Architecture", ARCHITECTURE),
        ("RootDeviceName", cluster.image.root_device),
    ):
        if (found := str(images[0].get(key, wanted))) != wanted:
            wrong.append(f"its {key} is {found}, needed is {wanted}")
    if wrong:
        yield fails("live-image", what, f"{identity}: {'; '.join(wrong)}")
    else:
        yield passes("live-image", what, f"{identity} ({images[0].get('Name', 'without a name')})")


def _bootstrap(aws: Aws, account: str) -> Iterator[Answer]:
    try:
        found = aws.ssm.get_parameter(Name=BOOTSTRAP)["Parameter"].get("Value", "")
    except ClientError as error:
        if code_of(error) != "ParameterNotFound":
            raise
        fix = f"once an account and region: npx cdk bootstrap aws://{account}/{aws.region}"
        yield fails("live-bootstrap", "CDK bootstrap", f"{aws.region} has none (no parameter {BOOTSTRAP})", fix)
    else:
        yield passes("live-bootstrap", "CDK bootstrap", f"version {found}")


def _role(aws: Aws, role: ServiceRole) -> Iterator[Answer]:
    try:
        aws.iam.get_role(RoleName=role.name)
    except ClientError as error:
        if code_of(error) != "NoSuchEntity":
            raise
        if role.by_itself:
            said = f"is not there yet; AWS makes it at the first use ({role.why}), if you may"
            yield unknown("live-role", role.name, said, f"once an account: {role.command}")
        else:
            yield fails("live-role", role.name, f"is not there: {role.why}", f"once an account: {role.command}")
    else:
        yield passes("live-role", role.name, f"is there: {role.why}")


def _storage(aws: Aws) -> Iterator[Answer]:
    count = sum(len(page["FileSystems"]) for page in aws.fsx.get_paginator("describe_file_systems").paginate())
    yield passes("live-storage", "FSx for Lustre", f"answers; {count} file systems in {aws.region}")
