"""The same cluster by every way in: over AWS, and over ssh to a real sshd on its head."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from cluster_scripts.backends.aws.cluster import AwsCluster
from cluster_scripts.backends.aws.session import CONFIG, Aws
from cluster_scripts.backends.reached import ReachedCluster
from cluster_scripts.backends.ssh.cluster import SshCluster
from tests.cloud import Cloud

SERVICES = ("ssm", "s3", "ec2", "logs", "cloudwatch", "sts")
SSH_PORT = 2222
PLACE = "/run/contract"
# the job user logs in; its home lies on the shared file system, as homes do on clusters that have an ssh login
HOME = "/fsx/contract-home"

START_SSHD = f"""
set -eu
mkdir -p {PLACE} /run/sshd
install -d -o dure -g dure {HOME}
[ -e {PLACE}/host_key ] || ssh-keygen -q -t ed25519 -N '' -f {PLACE}/host_key
cat >{PLACE}/keys
cat >{PLACE}/config <<END
Port {SSH_PORT}
ListenAddress 127.0.0.1
HostKey {PLACE}/host_key
PidFile {PLACE}/pid
AuthorizedKeysFile {PLACE}/keys
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
AllowUsers dure
SetEnv HOME={HOME}
Subsystem sftp internal-sftp
END
# without PAM, sshd refuses an account whose password begins with !; a star is no password either
sed -i 's/^dure:!/dure:*/' /etc/shadow
/usr/sbin/sshd -f {PLACE}/config
cat {PLACE}/host_key.pub
"""
STOP_SSHD = f"kill $(cat {PLACE}/pid); rm -rf {PLACE}"


def aws_cluster(cloud: Cloud) -> AwsCluster:
    """The AWS adapter, with clients that lead to this cloud whatever the environment says."""
    env = cloud.env
    session = boto3.session.Session(
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        region_name=env["AWS_REGION"],
    )
    aws = Aws(session=session, region=env["AWS_REGION"])
    for service in SERVICES:
        client = session.client(service, endpoint_url=env["AWS_ENDPOINT_URL"], config=CONFIG)  # type: ignore[call-overload]
        aws.__dict__[service] = client
    return AwsCluster.open(aws, "local")


def machine_pid(cloud: Cloud, instance_id: str) -> int:
    """The process that is the machine's pid 1."""
    status = json.loads(cloud.dure("cloud", "status", "--state", str(cloud.state), "--json").stdout)
    return next(int(machine["pid"]) for machine in status["machines"] if machine["id"] == instance_id)


@pytest.fixture(scope="session")
def ssh_config(cluster: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An ssh configuration under which "login" is the head: a real sshd, reached from inside the machine."""
    folder = tmp_path_factory.mktemp("ssh")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "id")], check=True)
    head = cluster.head()
    mine = (folder / "id.pub").read_text().strip()
    script = START_SSHD.replace(f"cat >{PLACE}/keys", f"echo {shlex.quote(mine)} >{PLACE}/keys")
    code, out, err = cluster.shell(head, script)
    assert code == 0, err
    kind, key = next(line for line in out.splitlines() if line.startswith("ssh-ed25519")).split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{SSH_PORT} {kind} {key}\n")
    relay = f"exec 3<>/dev/tcp/127.0.0.1/{SSH_PORT}; cat <&3 & cat >&3; wait"
    proxy = f"nsenter --target {machine_pid(cluster, head)} --all -- bash -c {shlex.quote(relay)}"
    (folder / "config").write_text(
        f"Host login\n  HostName 127.0.0.1\n  Port {SSH_PORT}\n  User dure\n  IdentityFile {folder / 'id'}\n"
        f"  UserKnownHostsFile {folder / 'known_hosts'}\n  ProxyCommand {proxy}\n"
    )
    yield folder / "config"
    cluster.shell(head, STOP_SSHD)


@pytest.fixture(params=["aws", "ssh"])
def reached(request: pytest.FixtureRequest, cluster: Cloud) -> Iterator[ReachedCluster]:
    """The deployed cluster through one adapter."""
    if request.param == "aws":
        yield aws_cluster(cluster)
        return
    over_ssh = SshCluster.open("login", config_path=request.getfixturevalue("ssh_config"))
    yield over_ssh
    over_ssh.close()
