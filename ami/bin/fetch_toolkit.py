"""Bring the toolkit of this machine's cluster: the part of the boot that has to be in the image.

    /opt/dure/env/node/bin/python -I /opt/dure/bin/fetch_toolkit.py [VERB]

Asks the instance metadata for the cluster's name, its facts (SSM parameter /dure/NAME/facts, waited for) for the
bundle, and puts that into /opt/dure/toolkit/SHA256, with /opt/dure/toolkit/current pointing to it. Nothing is done
when it is there already. Stands alone: it imports boto3 and nothing of ours, as ours is what it brings.

With a verb it goes on as `python -m cluster_scripts.node VERB` of that toolkit, in the same process.

Exit codes: 0 done; 1 failed, with the reason on standard error and in /var/log/dure/boot.log.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import runpy
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

METADATA = "http://169.254.169.254/latest/"
TOOLKITS = Path("/opt/dure/toolkit")
LOG = Path("/var/log/dure/boot.log")
#: A head can be up before the rest of its stack, in seconds.
FACTS_SECONDS = 900
TAG_SECONDS = 60
MAX_BUNDLE = 256 << 20


class CannotFetch(Exception):
    """What was tried, what came back."""


def metadata(path: str, *, token: list[str]) -> str | None:
    """A value of the instance metadata (version 2); None if there is none. `token` keeps the session."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    if not token:
        header = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
        wanted = urllib.request.Request(METADATA + "api/token", method="PUT", headers=header)
        token.append(opener.open(wanted, timeout=5).read().decode())
    wanted = urllib.request.Request(METADATA + "meta-data/" + path, headers={"X-aws-ec2-metadata-token": token[0]})
    try:
        return str(opener.open(wanted, timeout=5).read().decode())
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def until(what: str, ask: Callable[[], str | None], *, seconds: float) -> str:
    """Ask until there is an answer; CannotFetch after that many seconds."""
    end = time.monotonic() + seconds
    while True:
        try:
            why, answer = "there is none", ask()
        except OSError as error:
            why, answer = str(error), None
        if answer is not None:
            return answer
        if time.monotonic() >= end:
            raise CannotFetch(f"{what}: not within {seconds:.0f} s ({why})")
        time.sleep(0.5)


def wanted_bundle(facts: str) -> tuple[str, str, str]:
    """Bucket, key and SHA-256 of the bundle that the facts name."""
    try:
        toolkit = json.loads(facts)["toolkit"]
        bucket, key, sha256 = toolkit["bucket"], toolkit["key"], toolkit["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise CannotFetch(f"the facts name no toolkit bundle: {error!r}") from error
    if not (len(sha256) == 64 and all(sign in "0123456789abcdef" for sign in sha256)):
        raise CannotFetch(f"the facts' toolkit has no SHA-256 but {sha256!r}")
    return bucket, key, sha256


def install(content: bytes, sha256: str, *, toolkits: Path) -> None:
    """Unpack a bundle beside the others and point `current` to it; whole or not at all."""
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise CannotFetch(f"the bundle has the SHA-256 {found}, the facts say {sha256}: deploy the cluster again")
    toolkits.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".new-", dir=toolkits))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(folder)
        folder.chmod(0o755)
        folder.rename(toolkits / sha256)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    point(toolkits, sha256)


def point(toolkits: Path, sha256: str) -> None:
    """Make `current` the toolkit of that hash, in one step."""
    link = toolkits / f".current-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(sha256)
    link.replace(toolkits / "current")


def is_current(toolkits: Path, sha256: str) -> bool:
    """Whether the toolkit of that hash is there; `current` is set to it if so."""
    if not (toolkits / sha256 / "cluster_scripts").is_dir():
        return False
    if not (toolkits / "current").is_symlink() or (toolkits / "current").readlink() != Path(sha256):
        point(toolkits, sha256)
    return True


def facts_of(ssm: Any, cluster: str) -> Callable[[], str | None]:
    """A question for the cluster's facts: None while there are none."""

    def ask() -> str | None:
        try:
            return str(ssm.get_parameter(Name=f"/dure/{cluster}/facts")["Parameter"]["Value"])
        except ssm.exceptions.ParameterNotFound:
            return None

    return ask


def fetch() -> str:
    """All of it; says what was done."""
    import boto3

    token: list[str] = []
    cluster = until(
        "the tag dure:cluster of this instance",
        lambda: metadata("tags/instance/dure:cluster", token=token),
        seconds=TAG_SECONDS,
    )
    region = until(
        "the region of this instance", lambda: metadata("placement/region", token=token), seconds=TAG_SECONDS
    )
    ssm = boto3.client("ssm", region_name=region)
    facts = until(f"the facts of cluster {cluster} in {region}", facts_of(ssm, cluster), seconds=FACTS_SECONDS)
    bucket, key, sha256 = wanted_bundle(facts)
    if is_current(TOOLKITS, sha256):
        return f"{sha256[:12]} is there"
    answer = boto3.client("s3", region_name=region).get_object(Bucket=bucket, Key=key)
    if answer["ContentLength"] > MAX_BUNDLE:
        raise CannotFetch(
            f"s3://{bucket}/{key} is {answer['ContentLength']} bytes long, at most {MAX_BUNDLE} are taken"
        )
    install(answer["Body"].read(), sha256, toolkits=TOOLKITS)
    return f"{sha256[:12]} from s3://{bucket}/{key}"


def log(seconds: float, *, ok: bool, note: str) -> None:
    """One line as the boot itself writes them."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    entry = {"time": now, "program": "boot", "step": "toolkit", "seconds": round(seconds, 3), "ok": ok, "note": note}
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    print(f"{seconds:7.2f} s  {'done' if ok else 'FAILED':6}  toolkit: {note}", flush=True)


def main(arguments: list[str]) -> int:
    """Bring the toolkit, say so, and go on in it if there is a verb."""
    start = time.monotonic()
    os.umask(0o022)
    try:
        note = fetch()
    except Exception as error:
        log(time.monotonic() - start, ok=False, note=f"{type(error).__name__}: {error}")
        print(f"dure-node boot: the toolkit can't be brought: {error}", file=sys.stderr)
        return 1
    log(time.monotonic() - start, ok=True, note=note)
    if arguments:
        sys.path.insert(0, str(TOOLKITS / "current"))
        sys.argv = ["dure-node", *arguments]
        runpy.run_module("cluster_scripts.node", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
