"""User data, as cloud-init treats a script: run once, output to /var/log/cloud-init-output.log, the outcome in
result.json.

Only scripts (`#!`) are understood. Everything else that cloud-init knows (cloud-config, MIME, includes, gzip) is
refused with a word about it rather than skipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from .children import Children

_OTHER_KINDS = (
    (b"#cloud-config", "cloud-config"),
    (b"Content-Type:", "MIME multipart"),
    (b"MIME-Version:", "MIME multipart"),
    (b"#include", "an include file"),
    (b"#upstart-job", "an upstart job"),
    (b"#part-handler", "a part handler"),
    (b"## template:", "a template"),
    (b"\x1f\x8b", "gzip-compressed data"),
)


def refusal(data: bytes) -> str | None:
    """Why this user data can't be run here; None for a script."""
    if data.startswith(b"#!"):
        return None
    for start, kind in _OTHER_KINDS:
        if data.lstrip().lower().startswith(start.lower()):
            return f"the user data is {kind}; a machine of the local cloud runs scripts only: begin it with #!"
    return f"the user data is no script: it begins with {data[:40]!r}; begin it with #!"


def run(children: Children, *, instance: Path, log: Path, result: Path, env: Mapping[str, str]) -> int:
    """Run the user data found in `instance`/user-data.txt, at the first boot of an instance alone; returns its exit
    code (0 without any, 126 when refused).
    """
    source, semaphore = instance / "user-data.txt", instance / "sem" / "config_scripts_user"
    if not source.exists() or semaphore.exists():
        write_result(result, None)
        return 0
    semaphore.parent.mkdir(exist_ok=True)
    semaphore.touch()
    data = source.read_bytes()
    why = refusal(data)
    code = 126
    with log.open("ab", buffering=0) as output:
        if why is None:
            script = instance / "scripts" / "part-001"
            script.parent.mkdir(exist_ok=True)
            script.write_bytes(data)
            script.chmod(0o700)
            try:
                pid = children.spawn([str(script)], env=env, stdout=output.fileno(), stderr=output.fileno())
                code = children.wait(pid) or 0
            except OSError as error:
                why = f"the user data can't be executed: {error}"
        if code and why is None:
            why = f"the user data's script ended with exit code {code}"
        if why:
            output.write(f"cloud-init: {why}\n".encode())
    write_result(result, why)
    (instance / "boot-finished").touch()
    return code


def write_result(path: Path, error: str | None) -> None:
    """cloud-init's result.json, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    content = {"v1": {"datasource": "DataSourceEc2Local", "errors": [error] if error else []}}
    temporary.write_text(json.dumps(content) + "\n")
    temporary.replace(path)
