"""The local cloud and a cluster on it, for contract and end-to-end tests: started by the commands that users run."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Done = subprocess.CompletedProcess[str]
ROOT = Path(__file__).resolve().parents[1]
LOCAL = ROOT / "clusters/local.yaml"
_ASSEMBLIES: dict[str, tempfile.TemporaryDirectory[str]] = {}


@dataclass
class Cloud:
    """A running local cloud: its state folder and the environment that leads to it."""

    state: Path
    env: dict[str, str] = field(default_factory=dict)

    @classmethod
    def start(cls, state: Path) -> Cloud:
        """Starts one, as `dure cloud up` does, and takes over what `dure cloud env` prints."""
        cloud = cls(state=state, env=base_environment())
        cloud.dure("cloud", "up", "--state", str(state))
        for line in cloud.dure("cloud", "env", "--state", str(state)).stdout.splitlines():
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                cloud.env[name] = shlex.split(value)[0] if value else ""
        return cloud

    def stop(self) -> None:
        """`dure cloud down`."""
        self.dure("cloud", "down", "--state", str(self.state))

    def run(
        self, *argv: str, check: bool = True, timeout: float = 300.0, cwd: Path = ROOT
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in this cloud's environment; a failure shows its whole output."""
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"`{' '.join(argv)}` ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def dure(
        self, *words: str, check: bool = True, timeout: float = 300.0, cwd: Path = ROOT
    ) -> subprocess.CompletedProcess[str]:
        """`dure WORDS`."""
        return self.run(str(ROOT / ".venv/bin/dure"), *words, check=check, timeout=timeout, cwd=cwd)

    def json(self, *words: str) -> Any:
        """`dure WORDS --json`, parsed."""
        return json.loads(self.dure(*words, "--json").stdout)

    def cdk(self, *words: str, check: bool = True, timeout: float = 600.0) -> Done:
        """`cdk WORDS`."""
        return self.run(str(ROOT / "node_modules/.bin/cdk"), *words, check=check, timeout=timeout)

    def client(self, service: str) -> Any:
        """A boto3 client of this cloud."""
        import boto3

        session = boto3.session.Session(
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            region_name=self.env.get("AWS_DEFAULT_REGION") or self.env["AWS_REGION"],
        )
        return session.client(service, endpoint_url=self.env["AWS_ENDPOINT_URL"])

    def deploy(self, cluster_file: Path = LOCAL) -> None:
        """bootstrap, deploy --all, and the head answers."""
        assembly = str(self.assembly(cluster_file))
        self.cdk("bootstrap", "--app", assembly)
        self.cdk("deploy", "--all", "--require-approval", "never", "--app", assembly)
        self.wait_for_head()

    def assembly(self, cluster_file: Path) -> Path:
        """What `cdk synth` makes of a cluster file: once a test run for one content, as it takes seconds each time."""
        content = cluster_file.read_text()
        if content not in _ASSEMBLIES:
            folder = tempfile.TemporaryDirectory(prefix="dure-assembly-")
            self.cdk("synth", "--quiet", "-c", f"cluster={cluster_file}", "--output", folder.name)
            _ASSEMBLIES[content] = folder  # removed when the test run ends
        return Path(_ASSEMBLIES[content].name)

    def deploy_edited(self, edit: Callable[[dict[str, Any]], None], *, out: Path, cluster_file: Path = LOCAL) -> None:
        """The same with every template changed by `edit` between synth and deploy; does not wait for the head."""
        context = ("-c", f"cluster={cluster_file}", "--output", str(out))
        self.cdk("bootstrap", *context)
        self.cdk("synth", "--quiet", *context)
        for file in out.glob("*.template.json"):
            template = json.loads(file.read_text())
            edit(template)
            file.write_text(json.dumps(template))
        self.cdk("deploy", "--all", "--require-approval", "never", "--app", str(out))

    def wait_for_head(self, timeout: float = 120.0) -> None:
        """Until `dure nodes` answers."""
        wait_until(lambda: not self.dure("nodes", check=False).returncode, what="the head answers", timeout=timeout)

    def shell(self, instance_id: str, script: str, *, timeout: float = 60.0) -> tuple[int, str, str]:
        """Runs a root shell in a machine through SSM's AWS-RunShellScript; returns code, stdout, stderr."""
        ssm = self.client("ssm")
        sent = ssm.send_command(
            InstanceIds=[instance_id], DocumentName="AWS-RunShellScript", Parameters={"commands": [script]}
        )
        command = sent["Command"]["CommandId"]
        answer: dict[str, Any] = {}

        def ended() -> bool:
            nonlocal answer
            try:
                answer = ssm.get_command_invocation(CommandId=command, InstanceId=instance_id)
            except ssm.exceptions.InvocationDoesNotExist:
                return False
            return answer["Status"] not in ("Pending", "InProgress", "Delayed")

        wait_until(ended, what=f"`{script}` on {instance_id} ends", timeout=timeout)
        return answer["ResponseCode"], answer["StandardOutputContent"], answer["StandardErrorContent"]

    def instances(self, **tags: str) -> dict[str, dict[str, Any]]:
        """Instance id -> description, of those with these tags (`role="head"` is the tag dure:role), not terminated."""
        filters = [{"Name": f"tag:dure:{key}", "Values": [value]} for key, value in tags.items()]
        filters.append({"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]})
        found = self.client("ec2").describe_instances(Filters=filters)["Reservations"]
        return {i["InstanceId"]: i for r in found for i in r["Instances"]}

    def head(self) -> str:
        """The head's instance id."""
        (head,) = self.instances(role="head")
        return head


def base_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The caller's environment without what leads to an account, with the toolkit's programs first."""
    kept = {k: v for k, v in environ.items() if not k.startswith(("AWS_", "DURE_"))}
    return {**kept, "PATH": f"{ROOT / '.venv/bin'}:{ROOT / 'node_modules/.bin'}:{environ.get('PATH', '')}"}


def wait_until(condition: Any, *, what: str, timeout: float, pause: float = 0.2) -> None:
    """Polls a real, running system; the condition is its state, never a guess of time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(pause)
