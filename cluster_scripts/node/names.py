"""The machine's own host name has to lead to its address in the network.

Gloo, MPI and Slurm tell others the address that the host name resolves to. An image whose /etc/hosts gives that name to
127.0.1.1, as Debian's and Ubuntu's installers do, makes every other machine connect to itself.
"""

from __future__ import annotations

from cluster_scripts.node.system import System

FILE = "/etc/hosts"


def without_loopback(text: str, *, name: str, address: str) -> str:
    """The text of /etc/hosts in which `name` (and what stands before its first dot) is `address`, and no loopback.

    Other names, comments and addresses stay. Pure; what is right already comes back unchanged.
    """
    own = {name, name.partition(".")[0]}
    lines: list[str] = []
    known = False
    for line in text.splitlines():
        words, mark, comment = line.partition("#")
        fields = words.split()
        if fields and fields[0] == address and own & set(fields[1:]):
            known = True
        if fields and _is_loopback(fields[0]) and own & set(fields[1:]):
            kept = [each for each in fields[1:] if each not in own]
            if not kept:
                continue
            line = " ".join([fields[0], *kept]) + (f"  {mark}{comment}" if mark else "")
        lines.append(line)
    if not known:
        lines.append(f"{address} {name}" + (f" {name.partition('.')[0]}" if "." in name else ""))
    return "\n".join(lines) + "\n"


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def settle(system: System, *, name: str, address: str) -> bool:
    """Puts the file right; whether it was changed."""
    path = system.path(FILE)
    before = path.read_text(encoding="utf-8")
    after = without_loopback(before, name=name, address=address)
    if after == before:
        return False
    system.write(FILE, after)
    return True
