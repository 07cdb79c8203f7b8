"""Nobody is an administrator: one role deploys, one submits, one user watches, each with exactly the shipped policy.

Then each action of these policies is taken away in turn: the very call of `dure` or of the CDK CLI that needs it fails
and names it. What can't be shown so is in NOT_EXERCISED, with the reason; a grant that is in neither fails a test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster_scripts.backends.aws import asking, exports, facts, live, metrics, room, teardown
from cluster_scripts.backends.aws.cluster import AwsCluster
from cluster_scripts.backends.aws.copying import is_folder
from cluster_scripts.backends.aws.session import Aws
from infra.config.loader import load_cluster
from infra.config.schema import ClusterFile
from tests.cloud import LOCAL, Cloud
from tests.people import ACCOUNT, Grant, Person, by_group, by_role, by_session, make_policy, policy_of

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]
NAME = "local"
PARTS = ("cloudformation-1", "cloudformation-2")
PROBE = ".dure/answers/probe"


@dataclass(frozen=True)
class People:
    admin: Cloud
    deployer: Person
    submitter: Person
    watcher: Person
    bucket: str

    def of(self, who: str) -> Person:
        found: Person = getattr(self, who)
        return found


def bootstrap(admin: Cloud, out: Path) -> None:
    """What an administrator does, once: policies for CloudFormation and the CDK's bootstrap with them."""
    arns = [make_policy(admin, f"dure-{part}", printed(admin, part)) for part in PARTS]
    context = ("-c", f"cluster={LOCAL}", "--output", str(out))
    admin.cdk("bootstrap", "--cloudformation-execution-policies", ",".join(arns), *context)


def printed(admin: Cloud, name: str) -> str:
    return admin.dure("policy", name, str(LOCAL), "--account", ACCOUNT).stdout


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """A cluster that the deployer has brought up; the administrator then gives the stack's policies to two others."""
    folder = tmp_path_factory.mktemp("people")
    admin = Cloud.start(folder / "cloud")
    try:
        bootstrap(admin, folder / "cdk.out")
        deployer = by_session(admin, "deployer", make_policy(admin, "dure-deployer", printed(admin, "deployer")))
        deployer.cloud.dure("up", str(LOCAL), cwd=folder)
        ours = f"arn:aws:iam::{ACCOUNT}:policy/dure-{NAME}-us-east-1"
        submitter = by_role(admin, "ada", f"{ours}-submit", folder=folder)
        submitter.cloud.env["DURE_CLUSTER"] = NAME
        watcher = by_group(admin, "bob", f"{ours}-watch")
        watcher.cloud.env["DURE_CLUSTER"] = NAME
        value = admin.client("ssm").get_parameter(Name=f"/dure/{NAME}/facts")["Parameter"]["Value"]
        bucket = json.loads(value)["bucket"]
        for key in (PROBE, "data/probe"):
            admin.client("s3").put_object(Bucket=bucket, Key=key, Body=b"{}")
        yield People(admin, deployer, submitter, watcher, bucket)
    finally:
        admin.stop()


# ---- with the whole policies


def test_the_main_job_by_who_submits(people: People, tmp_path: Path) -> None:
    ada = people.submitter.cloud
    code = tmp_path / "code"
    code.mkdir()
    (code / "main.py").write_text("print('hello from', __file__)\n")
    done = ada.dure("submit", "--wait", "--nodes", "2", "--", "python3", "main.py", cwd=code)
    assert "hello from" in done.stdout
    (job,) = ada.json("jobs")
    assert (job["state"], ada.json("show", job["id"])["exit_code"]) == ("completed", 0)
    assert "hello from" in ada.dure("logs", job["id"]).stdout
    ada.json("nodes")
    ada.dure("top", "--once")
    (tmp_path / "given").write_text("there and back\n")
    ada.dure("cp", str(tmp_path / "given"), ":/data/given")
    ada.dure("cp", ":/data/given", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "there and back\n"


def test_who_watches_sees_all_and_changes_nothing(people: People) -> None:
    bob = people.watcher.cloud
    (job, *_) = bob.json("jobs")
    bob.json("show", job["id"])
    bob.dure("logs", job["id"])
    bob.json("nodes")
    bob.dure("top", "--once")
    ada = people.submitter.cloud
    live = str(json.loads(ada.dure("submit", "--json", "--no-code", "--", "sleep", "300").stdout)["job_id"])
    refusals = {
        "ssm:SendCommand": ("cancel", live),
        "s3:PutObject": ("submit", "--no-code", "--", "true"),
        "s3:GetObject": ("cp", ":/data/probe", "probe"),
    }
    for action, words in refusals.items():
        refused = bob.dure(*words, check=False)
        assert refused.returncode == 3
        assert f"the permission {action} is missing" in refused.stderr
    ada.dure("cancel", live)


@pytest.mark.parametrize("who", ["submitter", "watcher"])
def test_they_get_no_further(people: People, who: str) -> None:
    """No administrator by the back door: they do not read the munge key, end machines or run what they like."""
    person, head = people.of(who), people.admin.head()
    (secret,) = [each["ARN"] for each in people.admin.client("secretsmanager").list_secrets()["SecretList"]]
    shell = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}, "InstanceIds": [head]}
    calls: list[Callable[[], object]] = [
        lambda: client(person, "secretsmanager").get_secret_value(SecretId=secret),
        lambda: client(person, "ec2").terminate_instances(InstanceIds=[head]),
        lambda: client(person, "ssm").send_command(**shell),
        lambda: client(person, "ssm").get_parameters_by_path(Path="/dure/", Recursive=True),
    ]
    for call in calls:
        assert "is not authorized to perform" in person.refused(call)


# ---- one action less


def client(person: Person, service: str) -> Any:
    """A boto3 client with somebody's credentials."""
    return aws_of(person).session.client(service, region_name="us-east-1")


def aws_of(person: Person) -> Aws:
    """What the toolkit's functions ask AWS through, with somebody's credentials, fresh."""
    import boto3

    env = person.cloud.env
    session = (
        profile_session(person)
        if "AWS_PROFILE" in env
        else boto3.session.Session(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env.get("AWS_SESSION_TOKEN"))
    )
    return Aws(session=session, region="us-east-1")


def profile_session(person: Person) -> Any:
    """The session that a profile with role_arn gives."""
    import boto3
    import botocore.session

    inner = botocore.session.Session(profile=person.cloud.env["AWS_PROFILE"])
    inner.set_config_variable("config_file", person.cloud.env["AWS_CONFIG_FILE"])
    return boto3.session.Session(botocore_session=inner, region_name="us-east-1")


@pytest.fixture(autouse=True)
def here(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 in this process finds the local cloud."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", people.admin.env["AWS_ENDPOINT_URL"])


Probe = Callable[[People, Aws], object]


def cluster(aws: Aws) -> AwsCluster:
    return AwsCluster.open(aws, NAME)


def held(people: People, kind: str) -> list[teardown.Leftover]:
    """What the stacks hold of a kind, as the administrator sees it."""
    every = aws_of(Person(people.admin, people.admin, "", {}))
    return [one for one in teardown.holdings(every, NAME) if one.kind == kind]


def left(kind: str) -> Probe:
    """`dure down` looks whether it is gone."""
    return lambda people, aws: teardown.audit(aws, NAME, held(people, kind))


def exported(people: People, aws: Aws) -> object:
    (system,) = held(people, teardown.FILE_SYSTEM)
    return exports.unexported(aws, system.name)


def export(people: People, aws: Aws) -> object:
    (system,) = held(people, teardown.FILE_SYSTEM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exports, "_is_whole", lambda _: False)  # as with an association that exports nothing by itself
        return exports.export(aws, system.name)


def answers(step: Callable[[Aws, ClusterFile], Iterator[asking.Answer]]) -> Probe:
    """A step of `dure check --live`, in which a refusal is an answer."""

    def probe(_: People, aws: Aws) -> object:
        found = list(step(aws, load_cluster(LOCAL)))
        missing = [each.said for each in found if "not authorized" in each.said]
        assert not missing, missing
        return found

    return probe


def figures(_: People, aws: Aws) -> object:
    query = metrics.Query("cpu", "CPUUtilization", {"Cluster": NAME})
    return metrics.newest(aws, "Dure", [query], now=datetime.now(UTC), period=60, window=timedelta(minutes=5))


def abort(people: People, aws: Aws) -> object:
    """What boto3 does when an upload in parts fails."""
    started = aws.s3.create_multipart_upload(Bucket=people.bucket, Key="data/parts")
    return aws.s3.abort_multipart_upload(Bucket=people.bucket, Key="data/parts", UploadId=started["UploadId"])


def take_on(people: People, aws: Aws) -> object:
    """What the CDK CLI begins with."""
    role = f"arn:aws:iam::{ACCOUNT}:role/cdk-hnb659fds-deploy-role-{ACCOUNT}-us-east-1"
    return aws.sts.assume_role(RoleArn=role, RoleSessionName="probe")


FACTS: Probe = lambda _, aws: cluster(aws)  # noqa: E731
NODES: Probe = lambda _, aws: cluster(aws).nodes()  # noqa: E731
READ: Probe = lambda _, aws: cluster(aws).bucket.get_text(PROBE)  # noqa: E731
WRITE: Probe = lambda _, aws: cluster(aws).bucket.put_text(".dure/specs/probe.json", "{}")  # noqa: E731
LIST: Probe = lambda _, aws: is_folder(cluster(aws).bucket, "data")  # noqa: E731
LOGS: Probe = lambda _, aws: cluster(aws).last_lines("1", 5)  # noqa: E731
IDENTITY, ROOM = answers(live.identity), answers(room.room)

WATCH: dict[Grant, Probe] = {
    ("ReadFacts", "ssm:GetParameter"): FACTS,
    ("FindHead", "ec2:DescribeInstances"): NODES,
    ("ReadFigures", "cloudwatch:GetMetricData"): figures,
    ("SeeAnswers", "ssm:GetCommandInvocation"): NODES,
    ("ReadOutput", "logs:GetLogEvents"): LOGS,
    ("Ask", "ssm:SendCommand"): NODES,
    ("AskTheHead", "ssm:SendCommand"): NODES,
    ("ReadObjects", "s3:GetObject"): READ,
    ("ReadKey", "kms:Decrypt"): READ,
}
SUBMIT: dict[Grant, Probe] = {
    **WATCH,
    ("ListObjects", "s3:ListBucket"): LIST,
    ("WriteObjects", "s3:PutObject"): WRITE,
    ("EndUploads", "s3:AbortMultipartUpload"): abort,
    ("WriteKey", "kms:GenerateDataKey"): WRITE,
}
DEPLOY: dict[Grant, Probe] = {
    **{key: probe for key, probe in WATCH.items() if key[0] not in ("ReadFigures", "ReadOutput")},
    ("UseBootstrap", "sts:AssumeRole"): take_on,
    ("ReadClusterFile", "ssm:GetParameter"): lambda _, aws: facts.deployed_cluster_file(aws, NAME),
    ("ListStacks", "cloudformation:DescribeStacks"): lambda _, aws: teardown.stacks(aws, NAME),
    ("SeeStacks", "cloudformation:ListStackResources"): lambda _, aws: teardown.holdings(aws, NAME),
    ("LiftProtection", "cloudformation:UpdateTerminationProtection"): lambda _, aws: teardown.unprotect(
        aws, [f"dure-{NAME}-cluster"]
    ),
    ("EndMachines", "ec2:TerminateInstances"): lambda _, aws: teardown.end_machines(aws, NAME),
    ("SeeBucket", "s3:ListBucket"): left(teardown.BUCKET),
    ("SeeBucket", "s3:ListBucketVersions"): lambda people, aws: teardown.holds_objects(aws, people.bucket),
    ("EmptyBucket", "s3:DeleteObject"): lambda people, aws: teardown.empty_bucket(aws, people.bucket),
    ("SeeWhatIsLeft", "fsx:DescribeFileSystems"): left(teardown.FILE_SYSTEM),
    ("SeeWhatIsLeft", "ec2:DescribeVolumes"): left(teardown.VOLUME),
    ("SeeWhatIsLeft", "fsx:DescribeDataRepositoryAssociations"): exported,
    ("SeeWhatIsLeft", "fsx:DescribeDataRepositoryTasks"): exported,
    ("SeeExports", "cloudwatch:GetMetricStatistics"): exported,
    ("Export", "fsx:CreateDataRepositoryTask"): export,
    ("SeeParameters", "ssm:GetParametersByPath"): lambda _, aws: teardown.audit(aws, NAME, []),
    ("ReadPublicParameters", "ssm:GetParameter"): IDENTITY,
    ("SeeServiceRoles", "iam:GetRole"): IDENTITY,
    ("SeeOffers", "ec2:DescribeAvailabilityZones"): IDENTITY,
    ("SeeOffers", "ec2:DescribeInstanceTypeOfferings"): IDENTITY,
    ("SeeOffers", "ec2:DescribeImages"): IDENTITY,
    ("SeeOffers", "ec2:DescribeSubnets"): lambda _, aws: aws.ec2.describe_subnets(),
    ("SeeOffers", "ec2:DescribeVpcs"): ROOM,
    ("SeeQuotas", "servicequotas:GetServiceQuota"): ROOM,
}
PROBES = {"watcher": WATCH, "submitter": SUBMIT, "deployer": DEPLOY}
# who, statement, action -> why nothing here fails without it
NOT_EXERCISED: dict[tuple[str, str, str], str] = {
    (
        "deployer",
        "EmptyBucket",
        "s3:DeleteObjectVersion",
    ): "the local cloud leaves the list that DeleteObjects carries unread, so it asks for s3:DeleteObject only",
    (
        "deployer",
        "SeeOffers",
        "ec2:DescribeCapacityReservations",
    ): "the local cloud has no reservations",
    (
        "deployer",
        "SeeQuotas",
        "servicequotas:GetAWSDefaultServiceQuota",
    ): "asked only for a quota that the account never changed; the local cloud knows all as changed",
}
# Whole, these end machines and objects; that they pass is shown by `dure down` at the end
SHOWN_BY_DOWN = {"ec2:TerminateInstances", "s3:DeleteObject"}
CASES = [(who, *grant) for who, probes in PROBES.items() for grant in sorted(probes)]


@pytest.mark.parametrize("who", sorted(PROBES))
def test_every_grant_is_probed_or_named_as_not_exercised(people: People, who: str) -> None:
    named = {(sid, action) for whose, sid, action in NOT_EXERCISED if whose == who}
    assert not named & set(PROBES[who])
    assert named | set(PROBES[who]) == people.of(who).grants()


@pytest.mark.parametrize("who", sorted(PROBES))
def test_with_the_whole_policy_every_call_passes(people: People, who: str) -> None:
    aws = aws_of(people.of(who))
    for probe in {probe for (_, action), probe in PROBES[who].items() if action not in SHOWN_BY_DOWN}:
        probe(people, aws)


@pytest.mark.parametrize(("who", "sid", "action"), CASES)
def test_without_it_the_call_fails_and_names_it(people: People, who: str, sid: str, action: str) -> None:
    person, probe = people.of(who), PROBES[who][sid, action]
    with person.without(sid, action):
        said = person.refused(lambda: probe(people, aws_of(person)))
    assert f"perform: {action} on" in said or f"the permission {action} is missing" in said


def test_a_refused_command_says_which_action_is_missing(people: People) -> None:
    with people.submitter.without("Ask", "ssm:SendCommand"):
        refused = people.submitter.cloud.dure("nodes", check=False)
    assert refused.returncode == 3
    assert "the permission ssm:SendCommand is missing" in refused.stderr


def test_cdk_says_which_action_cloudformation_lacks(people: People, tmp_path: Path) -> None:
    """An update of the stack, by the deployer, while the execution role may not change alarms."""
    arn = f"arn:aws:iam::{ACCOUNT}:policy/dure-cloudformation-2"
    execution = Person(people.admin, people.deployer.cloud, arn, policy_of(people.admin, arn))
    changed = tmp_path / "changed.yaml"
    changed.write_text(LOCAL.read_text().replace("max: 4", "max: 5"))
    with execution.without("Ssm", "ssm:PutParameter"):
        refused = people.deployer.cloud.dure("up", str(changed), check=False, cwd=tmp_path)
    assert refused.returncode == 1
    assert "is not authorized to perform: ssm:PutParameter on resource" in refused.stdout + refused.stderr


def test_who_deploys_takes_it_away_whole(people: People, tmp_path: Path) -> None:
    down = people.deployer.cloud.dure(
        "down", str(LOCAL), "--yes", "--force", "--delete-data", cwd=tmp_path, check=False
    )
    assert (down.returncode, down.stderr) == (0, "")
    assert "is gone" in down.stdout
    assert people.admin.instances() == {}
    assert people.admin.client("fsx").describe_file_systems()["FileSystems"] == []
