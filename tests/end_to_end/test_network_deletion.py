"""Every security group rule and every endpoint that the app ships is needed: without it something real fails.

One at a time is taken away by API and put back after; meanwhile a program on a machine does what needs it. What can't
be shown so is in NOT_EXERCISED. The probes run in a process that was started on each machine beforehand: without its
endpoints a machine takes no commands.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.cloud import Cloud, wait_until

pytestmark = pytest.mark.timeout(600)

DISPLACES = "it lets nothing out: it stands where EC2 would put a rule that lets everything out"
# rule or endpoint -> why nothing here fails without it
NOT_EXERCISED = {
    "files out to 255.255.255.255/32 icmp 252-86": DISPLACES,
    "endpoints out to 255.255.255.255/32 icmp 252-86": DISPLACES,
    "endpoint ec2messages": "agents before version 3.3, which images that users bring may have, fetch commands there",
}
GROUPS = {"head": "head", "nodes": "nodes", "filesystem": "files", "endpoints": "endpoints"}

# On a machine: runs each file NUMBER.py that appears, and answers with a file NUMBER.json, [whether it passed, the
# last line of what it said].
RUNNER = """
import json, os, socket, subprocess, sys, time, traceback
from pathlib import Path
import boto3
from botocore.config import Config
from infra.config.facts import Facts
facts = Facts.from_json(Path("/etc/dure/facts.json").read_text())
session = boto3.session.Session(region_name=facts.region)
def aws(service):
    return session.client(service, config=Config(connect_timeout=1, read_timeout=5, retries={"max_attempts": 0}))
def run(*argv):
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    child = subprocess.Popen(argv, start_new_session=True, text=True, **streams)
    try:
        said, _ = child.communicate(timeout=3)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, 9)
        raise TimeoutError(f"{argv} does not end")
    if child.returncode:
        raise RuntimeError(f"{argv} ends with {child.returncode}: {' '.join(said.split())[-300:]}")
def mount():
    Path("/mnt/probe").mkdir(exist_ok=True)
    run("mount", "-t", "lustre", f"{facts.file_system.dns_name}@tcp:/{facts.file_system.mount_name}", "/mnt/probe")
    run("umount", "/mnt/probe")
def connect(address, port):
    socket.create_connection((address, port), timeout=1).close()
folder = Path("/var/log/probe")
(folder / "ready").touch()
while True:
    for file in sorted(folder.glob("*.py")):
        code = file.read_text()
        file.unlink()
        try:
            exec(code)
            answer = [True, ""]
        except BaseException as error:
            answer = [False, traceback.format_exception_only(error)[-1].strip()]
        file.with_suffix(".new").write_text(json.dumps(answer))
        file.with_suffix(".new").rename(file.with_suffix(".json"))
    time.sleep(0.02)
"""


@dataclass(frozen=True)
class Probe:
    """What a machine does, and what it says when it can't."""

    machine: str
    code: str
    says: str


TIMES_OUT = "ConnectTimeoutError"
PARAMETER = 'aws("ssm").get_parameter(Name=f"/dure/{facts.name}/facts")'
OBJECT = 'aws("s3").get_object(Bucket=facts.toolkit.bucket, Key=facts.toolkit.key)'
STREAM = 'aws("logs").create_log_stream(logGroupName=facts.log_groups.nodes, logStreamName=f"probe-{time.time()}")'
METRIC = """
metric = {"MetricName": "Probe", "Value": 1, "Dimensions": [{"Name": "Cluster", "Value": facts.name}]}
aws("cloudwatch").put_metric_data(Namespace=facts.metrics_namespace, MetricData=[metric])
"""
PEER = 'connect("{peer}", 40000)'  # a port that a job might choose
REGISTERS = 'run("scontrol", "ping")'  # slurmd registers where scontrol asks
STEP = 'run("runuser", "-u", "dure", "--", "srun", "--overlap", "--jobid={job}", "--nodes=1", "--ntasks=1", "true")'
# srun of a batch script listens there for what the controller tells it: a node that failed, a time limit
SRUN = 'connect("{node}", 60500)'
HANGS = "TimeoutError"


def lustre(machine: str, group: str) -> dict[str, Probe]:
    """The rules between a machine's group and the file system's: without any of them it can't mount."""
    probe = Probe(machine, "mount()", "Connection timed out")
    ports = ("988", "1018-1023")
    ways = [way for a, b in ((group, "files"), ("files", group)) for way in (f"{a} out to {b}", f"{b} in from {a}")]
    return {f"{way} tcp {port}": probe for way, port in itertools.product(ways, ports)}


def both(source: str, target: str, what: str, probe: Probe) -> dict[str, Probe]:
    """A flow's rule out of the one group and into the other."""
    return {f"{source} out to {target} {what}": probe, f"{target} in from {source} {what}": probe}


RULES = {
    **both("nodes", "nodes", "all", Probe("node", PEER, HANGS)),
    **both("nodes", "head", "tcp 6817", Probe("node", REGISTERS, "DOWN")),
    **both("head", "nodes", "tcp 6818", Probe("head", STEP, HANGS)),
    **both("nodes", "head", "tcp 60001-60999", Probe("head", STEP, HANGS)),
    **both("head", "nodes", "tcp 60001-60999", Probe("head", SRUN, HANGS)),
    "head out to 0.0.0.0/0 tcp 443": Probe("head", OBJECT, TIMES_OUT),
    "nodes out to 0.0.0.0/0 tcp 443": Probe("node", OBJECT, TIMES_OUT),
    "endpoints in from head tcp 443": Probe("head", PARAMETER, TIMES_OUT),
    "endpoints in from nodes tcp 443": Probe("node", PARAMETER, TIMES_OUT),
    **lustre("head", "head"),
    **lustre("node", "nodes"),
    **lustre("head", "files"),
}
ENDPOINTS = {
    "endpoint ec2": Probe("head", 'aws("ec2").describe_instances(MaxResults=5)', TIMES_OUT),
    "endpoint logs": Probe("node", STREAM, TIMES_OUT),
    "endpoint monitoring": Probe("node", METRIC, TIMES_OUT),
    "endpoint s3": Probe("node", OBJECT, TIMES_OUT),
    "endpoint secretsmanager": Probe(
        "node", 'aws("secretsmanager").get_secret_value(SecretId=facts.munge_secret)', TIMES_OUT
    ),
    "endpoint ssm": Probe("node", PARAMETER, TIMES_OUT),
}
AGENTS_ONLY = "endpoint ssmmessages"


@dataclass
class Bench:
    """The cluster, its machines, and what it ships: rules and endpoints by what they say."""

    cluster: Cloud
    machines: dict[str, str]
    words: dict[str, str]
    rules: dict[str, dict[str, Any]]
    endpoints: dict[str, dict[str, Any]]
    _count: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def folder(self, machine: str) -> Path:
        """A machine's probes, as this host sees them."""
        return self.cluster.state / "machines" / self.machines[machine] / "log" / "probe"

    def probe(self, probe: Probe) -> tuple[bool, str]:
        """Runs a probe: whether it passed, and what it said."""
        folder, number = self.folder(probe.machine), next(self._count)
        code = probe.code
        for word, value in self.words.items():
            code = code.replace(f"{{{word}}}", value)
        (folder / f"{number}.new").write_text(code)
        (folder / f"{number}.new").rename(folder / f"{number}.py")
        answer, deadline = folder / f"{number}.json", time.monotonic() + 20
        while not answer.exists():
            assert time.monotonic() < deadline, f"no answer from {probe.machine} to {probe.code}"
            time.sleep(0.02)
        passed, said = json.loads(answer.read_text())
        return bool(passed), str(said)

    @contextmanager
    def without_rule(self, name: str) -> Iterator[None]:
        """The cluster without one rule, while the block runs."""
        ec2, rule = self.cluster.client("ec2"), self.rules[name]
        into = {"GroupId": rule["GroupId"], "IpPermissions": [permission(rule)]}
        way = "egress" if rule["IsEgress"] else "ingress"
        getattr(ec2, f"revoke_security_group_{way}")(**into)
        try:
            yield
        finally:
            getattr(ec2, f"authorize_security_group_{way}")(**into)

    @contextmanager
    def without_endpoint(self, name: str) -> Iterator[None]:
        """The cluster without one endpoint, while the block runs."""
        ec2, endpoint = self.cluster.client("ec2"), self.endpoints[name]
        gone = ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"]])
        assert not gone.get("Unsuccessful")
        again = {key: endpoint[key] for key in ("VpcId", "ServiceName", "VpcEndpointType")}
        if endpoint["VpcEndpointType"] == "Gateway":
            again["RouteTableIds"] = endpoint["RouteTableIds"]
        else:
            groups = [group["GroupId"] for group in endpoint["Groups"]]
            again |= {"SubnetIds": endpoint["SubnetIds"], "SecurityGroupIds": groups, "PrivateDnsEnabled": True}
        try:
            yield
        finally:
            made = ec2.create_vpc_endpoint(**again)["VpcEndpoint"]
            self.endpoints[name] = {**endpoint, "VpcEndpointId": made["VpcEndpointId"]}

    def online(self) -> set[str]:
        """The instances whose agent answers."""
        found = self.cluster.client("ssm").describe_instance_information()["InstanceInformationList"]
        return {each["InstanceId"] for each in found if each["PingStatus"] == "Online"}


def permission(rule: dict[str, Any]) -> dict[str, Any]:
    """A described rule as AuthorizeSecurityGroup takes it."""
    found: dict[str, Any] = {"IpProtocol": rule["IpProtocol"]}
    if rule["IpProtocol"] != "-1":
        found |= {"FromPort": rule["FromPort"], "ToPort": rule["ToPort"]}
    if "ReferencedGroupInfo" in rule:
        return {**found, "UserIdGroupPairs": [{"GroupId": rule["ReferencedGroupInfo"]["GroupId"]}]}
    return {**found, "IpRanges": [{"CidrIp": rule["CidrIpv4"]}]}


def say(rule: dict[str, Any], names: dict[str, str]) -> str:
    """A described rule in words: `nodes out to head tcp 6817`."""
    peer = names[rule["ReferencedGroupInfo"]["GroupId"]] if "ReferencedGroupInfo" in rule else rule["CidrIpv4"]
    what = "all"
    if rule["IpProtocol"] != "-1":
        first, last = rule["FromPort"], rule["ToPort"]
        what = f"{rule['IpProtocol']} {first}" + ("" if first == last else f"-{last}")
    return f"{names[rule['GroupId']]} {'out to' if rule['IsEgress'] else 'in from'} {peer} {what}"


def shipped(cluster: Cloud) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The cluster's rules and endpoints, by what they say."""
    ec2 = cluster.client("ec2")
    names = {}
    for group in ec2.describe_security_groups(Filters=[{"Name": "tag-key", "Values": ["dure:cluster"]}])[
        "SecurityGroups"
    ]:
        tags = {tag["Key"]: tag["Value"] for tag in group["Tags"]}
        names[group["GroupId"]] = GROUPS[tags["Name"].removeprefix("dure-local-")]
    found = [each for each in ec2.describe_security_group_rules()["SecurityGroupRules"] if each["GroupId"] in names]
    endpoints = ec2.describe_vpc_endpoints()["VpcEndpoints"]
    return {say(each, names): each for each in found}, {
        f"endpoint {each['ServiceName'].rsplit('.', 1)[1]}": each for each in endpoints
    }


@pytest.fixture(scope="module")
def bench(own_cluster: Cloud) -> Bench:
    """Head and two nodes, which a job keeps, with a process for probes on each, and listeners on one node."""
    submitted = own_cluster.dure("submit", "--json", "--no-code", "--nodes", "2", "--", "sleep", "600")
    job = str(json.loads(submitted.stdout)["job_id"])
    wait_until(lambda: own_cluster.json("show", job)["state"] == "running", what="two nodes run a job", timeout=60)
    nodes = own_cluster.instances(role="compute")
    node, peer = sorted(nodes)
    machines = {"head": own_cluster.head(), "node": node}
    words = {"job": job, "peer": nodes[peer]["PrivateIpAddress"], "node": nodes[node]["PrivateIpAddress"]}
    found = Bench(own_cluster, machines, words, *shipped(own_cluster))
    for machine, port in ((peer, 40000), (node, 60500)):
        listen = f"import socket, time; s = socket.create_server(('', {port}), backlog=99); time.sleep(600)"
        own_cluster.shell(machine, f'setsid python3 -c "{listen}" >/dev/null 2>&1 &')
    python = "PYTHONPATH=/opt/dure/toolkit/current HOME=/root setsid /opt/dure/env/node/bin/python"
    for name, machine in machines.items():
        own_cluster.shell(machine, "mkdir -p /var/log/probe; chmod 777 /var/log/probe")
        (found.folder(name) / "runner.txt").write_text(RUNNER)
        own_cluster.shell(machine, f"cd /; {python} /var/log/probe/runner.txt >/var/log/probe/log 2>&1 &")
        ready = found.folder(name) / "ready"
        wait_until(ready.exists, what=f"the probes' process on the {name} is ready", timeout=30)
    return found


def test_every_rule_and_endpoint_is_probed_or_named_as_not_exercised(bench: Bench) -> None:
    probed = {*RULES, *ENDPOINTS, AGENTS_ONLY}
    assert not probed & set(NOT_EXERCISED)
    assert probed | set(NOT_EXERCISED) == {*bench.rules, *bench.endpoints}


def test_with_the_whole_network_every_probe_passes(bench: Bench) -> None:
    for probe in {*RULES.values(), *ENDPOINTS.values()}:
        assert bench.probe(probe) == (True, ""), probe


@pytest.mark.parametrize("name", sorted(RULES))
def test_without_a_rule_something_fails(bench: Bench, name: str) -> None:
    with bench.without_rule(name):
        passed, said = bench.probe(RULES[name])
    assert (passed, RULES[name].says in said) == (False, True), said


@pytest.mark.parametrize("name", sorted(ENDPOINTS))
def test_without_an_endpoint_the_call_is_not_answered(bench: Bench, name: str) -> None:
    with bench.without_endpoint(name):
        passed, said = bench.probe(ENDPOINTS[name])
    assert (passed, ENDPOINTS[name].says in said) == (False, True), said


@pytest.mark.parametrize("name", ["endpoint ssm", AGENTS_ONLY])
def test_without_its_endpoints_the_agent_takes_no_commands(bench: Bench, name: str) -> None:
    assert set(bench.machines.values()) <= bench.online()
    with bench.without_endpoint(name):
        assert bench.online() == set()
        answer = bench.cluster.dure("nodes", check=False)
    assert answer.returncode == 3, answer.stderr
    assert set(bench.machines.values()) <= bench.online()


def test_in_the_end_the_network_is_whole_again(bench: Bench) -> None:
    rules, endpoints = shipped(bench.cluster)
    assert (set(rules), set(endpoints)) == (set(bench.rules), set(bench.endpoints))
    done = bench.cluster.dure("submit", "--no-code", "--nodes", "2", "--wait", "--", "true", check=False)
    assert done.returncode == 0, done.stderr
