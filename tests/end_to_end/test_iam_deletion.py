"""Every action that the cluster's roles are given is needed: without it something fails, and the failure names it.

One action at a time is taken out of the role's policy by API; then the call that needs it is made on the machine, with
the machine's own credentials, by the very functions that its programs use. What can't be shown so is in NOT_EXERCISED.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cloud import Cloud, wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]

AGENT = "the local cloud delivers commands to machines by itself: no SSM agent runs on them"
ENCRYPTED = "EC2 asks for it only where an image's own snapshot is encrypted; the local image has none"
# (role, statement, action) -> why nothing here fails without it
NOT_EXERCISED = {
    ("head", "AgentReports", "ssm:UpdateInstanceInformation"): AGENT,
    ("head", "AgentChannel", "ssmmessages:CreateControlChannel"): AGENT,
    ("head", "AgentChannel", "ssmmessages:CreateDataChannel"): AGENT,
    ("head", "AgentChannel", "ssmmessages:OpenControlChannel"): AGENT,
    ("head", "AgentChannel", "ssmmessages:OpenDataChannel"): AGENT,
    ("head", "AgentMessages", "ec2messages:AcknowledgeMessage"): AGENT,
    ("head", "AgentMessages", "ec2messages:DeleteMessage"): AGENT,
    ("head", "AgentMessages", "ec2messages:FailMessage"): AGENT,
    ("head", "AgentMessages", "ec2messages:GetEndpoint"): AGENT,
    ("head", "AgentMessages", "ec2messages:GetMessages"): AGENT,
    ("head", "AgentMessages", "ec2messages:SendReply"): AGENT,
    ("head", "NodeVolumes", "kms:ReEncryptFrom"): ENCRYPTED,
    ("head", "NodeVolumes", "kms:ReEncryptTo"): ENCRYPTED,
}

# What a probe begins with, on the machine.
PRELUDE = """
import json, time, uuid
from pathlib import Path
from cluster_scripts.backends.aws.node_services import Launch, NodeServices
from cluster_scripts.backends.aws.telemetry import LogEvent, MetricValue, open_telemetry
from infra.config.facts import Facts
facts = Facts.from_json(Path("/etc/dure/facts.json").read_text())
services = NodeServices.open(region=facts.region)
telemetry = open_telemetry(facts.region)
fresh = uuid.uuid4().hex
"""
READ = "services.object(facts.bucket, {key!r})"
LAUNCHES, CODE, ANSWERS = (f".dure/{each}/probe" for each in ("launches", "code", "answers"))
TOOLKIT = "services.aws.s3.get_object(Bucket=facts.toolkit.bucket, Key=facts.toolkit.key)['Body'].read()"
FACTS = "services.parameter(f'/dure/{facts.name}/facts')"
SECRET = "services.secret(facts.munge_secret)"
METRIC = """
of = (("Cluster", facts.name),)
one = dict(count=1, sum=1, minimum=1, maximum=1)
value = MetricValue(name="Probe", unit="Count", dimensions=of, time=time.time(), **one)
telemetry.put_metrics(facts.metrics_namespace, [value])
"""
LOG = """
event = LogEvent(timestamp_ms=int(time.time() * 1000), message="probe")
telemetry.put_events([event], group=facts.log_groups.nodes, stream="probe-" + fresh)
"""
WRITE = f"services.put_object(facts.bucket, {ANSWERS!r}, b'{{}}')"
LAUNCH = """
queue = facts.queues[0]
template = queue.launch_templates[0]
tags = {"dure:cluster": facts.name, "dure:role": "compute", "dure:queue": queue.name, "dure:launch": fresh}
services.launch(
    Launch(
        template_id=template.launch_template_id,
        template_version=template.version,
        instance_type=queue.instance_type,
        count=1,
        token=fresh,
        tags=tags,
    )
)
"""
END = "services.terminate([each.id for each in services.cluster_nodes(facts.name)])"
SEE = "services.cluster_nodes(facts.name)"
# It has the volume already, which EC2 says after it has asked whether the caller may
ATTACH = """
me = json.loads(Path("/etc/dure/identity.json").read_text())["instance_id"]
services.attach_volume(facts.head.state_volume, instance_id=me, device="/dev/sdf")
"""

PROBES = {
    ("node", "ReadFacts", "ssm:GetParameter"): FACTS,
    ("node", "ReadToolkit", "s3:GetObject"): TOOLKIT,
    ("node", "ReadMungeKey", "secretsmanager:GetSecretValue"): SECRET,
    ("node", "DecryptMungeKey", "kms:Decrypt"): SECRET,
    ("node", "SendMetrics", "cloudwatch:PutMetricData"): METRIC,
    ("node", "ReadOrders", "s3:GetObject"): READ.format(key=LAUNCHES),
    ("node", "WriteLogs", "logs:CreateLogStream"): LOG,
    ("node", "WriteLogs", "logs:PutLogEvents"): LOG,
    ("node", "ListOrders", "s3:ListBucket"): READ.format(key=f"{LAUNCHES}-not-there"),
    ("node", "DecryptOrders", "kms:Decrypt"): READ.format(key=LAUNCHES),
    ("head", "ReadFacts", "ssm:GetParameter"): FACTS,
    ("head", "ReadToolkit", "s3:GetObject"): TOOLKIT,
    ("head", "ReadMungeKey", "secretsmanager:GetSecretValue"): SECRET,
    ("head", "DecryptMungeKey", "kms:Decrypt"): SECRET,
    ("head", "SendMetrics", "cloudwatch:PutMetricData"): METRIC,
    ("head", "ReadNotes", "s3:GetObject"): READ.format(key=CODE),
    ("head", "ListNotes", "s3:ListBucket"): READ.format(key=f"{CODE}-not-there"),
    ("head", "WriteNotes", "s3:PutObject"): WRITE,
    ("head", "NotesKey", "kms:Decrypt"): READ.format(key=CODE),
    ("head", "NotesKey", "kms:GenerateDataKey"): WRITE,
    ("head", "WriteLogs", "logs:CreateLogStream"): LOG,
    ("head", "WriteLogs", "logs:PutLogEvents"): LOG,
    ("head", "LaunchNodes", "ec2:RunInstances"): LAUNCH,
    ("head", "LaunchFromTemplates", "ec2:RunInstances"): LAUNCH,
    ("head", "TagNodes", "ec2:CreateTags"): LAUNCH,
    ("head", "EndNodes", "ec2:TerminateInstances"): END,
    ("head", "SeeNodes", "ec2:DescribeInstances"): SEE,
    ("head", "GiveNodesTheirRole", "iam:PassRole"): LAUNCH,
    ("head", "AttachState", "ec2:AttachVolume"): ATTACH,
    ("head", "NodeVolumes", "kms:CreateGrant"): LAUNCH,
    ("head", "NodeVolumes", "kms:Decrypt"): LAUNCH,
    ("head", "NodeVolumes", "kms:DescribeKey"): LAUNCH,
    ("head", "NodeVolumes", "kms:GenerateDataKeyWithoutPlaintext"): LAUNCH,
}
# The cluster itself launches and ends machines while the test runs, with the whole policy
SHOWN_BY_THE_CLUSTER = (LAUNCH, END)


@dataclass(frozen=True)
class Roles:
    """The cluster, the instance of each role, and each role's policy as it was deployed."""

    cluster: Cloud
    machines: dict[str, str]
    names: dict[str, str]
    policies: dict[str, dict[str, Any]]

    def grants(self) -> set[tuple[str, str, str]]:
        """Role, statement and action, of all that the policies allow."""
        return {
            (role, statement["Sid"], action)
            for role, policy in self.policies.items()
            for statement in policy["Statement"]
            for action in _listed(statement["Action"])
        }

    @contextmanager
    def without(self, role: str, sid: str, action: str) -> Iterator[None]:
        """The role's policy without one action of one statement, while the block runs."""
        policy = copy.deepcopy(self.policies[role])
        (statement,) = [each for each in policy["Statement"] if each["Sid"] == sid]
        statement["Action"] = [each for each in _listed(statement["Action"]) if each != action]
        if not statement["Action"]:
            policy["Statement"].remove(statement)
        self._put(role, policy)
        try:
            yield
        finally:
            self._put(role, self.policies[role])

    def _put(self, role: str, policy: dict[str, Any]) -> None:
        self.cluster.client("iam").put_role_policy(
            RoleName=self.names[role], PolicyName="Machine", PolicyDocument=json.dumps(policy)
        )

    def probe(self, role: str, code: str) -> tuple[int, str]:
        """Runs code on the role's machine with its own credentials: exit code, and the last line of what it said."""
        python = "PYTHONPATH=/opt/dure/toolkit/current /opt/dure/env/node/bin/python"
        script = f"cd / && {python} - <<'END'\n{PRELUDE}{code}\nEND"
        status, _, error = self.cluster.shell(self.machines[role], script)
        return status, (error.strip().splitlines() or [""])[-1]


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.fixture(scope="module")
def roles(own_cluster: Cloud) -> Iterator[Roles]:
    """Head and one node, which a job keeps."""
    iam, s3 = own_cluster.client("iam"), own_cluster.client("s3")
    facts = own_cluster.client("ssm").get_parameter(Name="/dure/local/facts")["Parameter"]["Value"]
    bucket = json.loads(facts)["bucket"]
    for key in (LAUNCHES, CODE):
        s3.put_object(Bucket=bucket, Key=key, Body=b"{}")
    own_cluster.dure("submit", "--no-code", "--nodes", "1", "--", "sleep", "600")
    wait_until(lambda: own_cluster.json("jobs")[0]["state"] == "running", what="a node runs a job", timeout=60)
    found = {role["RoleName"] for role in iam.list_roles()["Roles"]}
    kinds = {"head": "HeadRole", "node": "NodeRole"}
    names = {role: next(name for name in found if part in name) for role, part in kinds.items()}
    (node,) = own_cluster.instances(role="compute")
    policies = {
        role: iam.get_role_policy(RoleName=name, PolicyName="Machine")["PolicyDocument"] for role, name in names.items()
    }
    yield Roles(own_cluster, {"head": own_cluster.head(), "node": node}, names, policies)


def test_every_action_of_the_shipped_policies_is_probed_or_named_as_not_exercised(roles: Roles) -> None:
    assert not set(PROBES) & set(NOT_EXERCISED)
    assert set(PROBES) | set(NOT_EXERCISED) == roles.grants()


@pytest.mark.parametrize("role", ["node", "head"])
def test_with_the_whole_policy_every_call_passes(roles: Roles, role: str) -> None:
    codes = {code for key, code in PROBES.items() if key[0] == role} - set(SHOWN_BY_THE_CLUSTER)
    assert roles.probe(role, "\n".join(sorted(codes))) == (0, "")


@pytest.mark.parametrize(("role", "sid", "action"), sorted(PROBES))
def test_without_it_the_call_fails_and_names_it(roles: Roles, role: str, sid: str, action: str) -> None:
    with roles.without(role, sid, action):
        status, said = roles.probe(role, PROBES[role, sid, action])
    assert status == 1
    assert f":assumed-role/{roles.names[role]}/{roles.machines[role]} is not authorized to perform: {action} on" in said


def test_a_head_that_may_not_launch_says_so_to_the_job_that_waits(roles: Roles) -> None:
    cluster = roles.cluster
    with roles.without("head", "LaunchNodes", "ec2:RunInstances"):
        job = str(json.loads(cluster.dure("submit", "--json", "--no-code", "--", "true").stdout)["job_id"])
        wait_until(
            lambda: "ec2:RunInstances" in cluster.json("show", job)["reason"], what="the job says why", timeout=40
        )
        cluster.dure("cancel", job)


def test_a_node_that_may_not_read_the_munge_key_says_so_in_its_boot_log(roles: Roles) -> None:
    cluster = roles.cluster
    with roles.without("node", "ReadMungeKey", "secretsmanager:GetSecretValue"):
        job = str(json.loads(cluster.dure("submit", "--json", "--no-code", "--", "true").stdout)["job_id"])
        known = {roles.machines["node"]}
        wait_until(lambda: set(cluster.instances(role="compute")) - known, what="another node is launched", timeout=60)
        (node,) = set(cluster.instances(role="compute")) - known
        log = cluster.state / "machines" / node / "log" / "cloud-init-output.log"
        wait_until(
            lambda: log.exists() and "perform: secretsmanager:GetSecretValue on" in log.read_text(),
            what="the boot log names the action",
            timeout=30,
        )
        cluster.dure("cancel", job)
