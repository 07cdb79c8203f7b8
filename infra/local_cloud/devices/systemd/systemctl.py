"""systemctl of a machine: hands its words to pid 1 and prints the answer. Exit codes are the real one's: 3 inactive, 4
no such unit, 5 no such unit to act on."""

from __future__ import annotations

import sys

from infra.local_cloud.machines.inside import channel


def main(arguments: list[str]) -> int:
    """`systemctl [options] verb [units]`."""
    if arguments == ["--version"]:
        print("systemd 252 (local cloud)")
        return 0
    if set(arguments) & {"poweroff", "halt", "reboot"}:
        request = {"kind": "power", "verb": arguments[-1], "delay": 0, "reboot": "reboot" in arguments}
    else:
        request = {"kind": "systemctl", "arguments": arguments}
    try:
        answer, _ = channel.ask(request)
    except OSError as error:
        print(f"Failed to connect to bus: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(answer.get("stdout", ""))
    sys.stderr.write(answer.get("stderr", ""))
    return int(answer["code"])
