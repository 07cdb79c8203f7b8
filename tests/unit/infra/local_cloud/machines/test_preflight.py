"""Every lack of this host is one line that says what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from infra.local_cloud.machines import preflight, user_namespace
from infra.local_cloud.machines.api import MachineError

STATE = Path("/state")
ROOT = preflight.Facts(kernel="6.1.0-18-amd64", missing_programs=(), free_bytes=10 << 30, root=True)
USER = replace(ROOT, root=False, user="kim", subordinate_uids=65536, subordinate_gids=65536, sysctls={})


@pytest.mark.parametrize("facts", [ROOT, USER])
def test_a_sound_host(facts: preflight.Facts) -> None:
    assert preflight.problems(facts, state=STATE) == []


@pytest.mark.parametrize(
    ("facts", "remedy"),
    [
        (replace(ROOT, kernel="5.10.0-26-amd64"), "Linux 5.12 or later"),
        (replace(ROOT, missing_programs=("ip",)), "apt-get install --no-install-recommends iproute2"),
        (replace(USER, missing_programs=("newuidmap",)), "apt-get install --no-install-recommends uidmap"),
        (replace(ROOT, free_bytes=10 << 20), "only 10 MB are free"),
        (replace(ROOT, trial_error="unshare failed: Operation not permitted"), "docker run --privileged"),
        (replace(USER, trial_error="x"), "run with sudo"),
        (replace(ROOT, missing_programs=("nft",)), "apt-get install --no-install-recommends nftables"),
        (
            replace(USER, trial_error="no nftables: Error: Could not process rule: Operation not supported"),
            "(Error: Could not process rule: Operation not supported): sudo modprobe -a nf_tables nf_conntrack nft_ct",
        ),
        (
            replace(USER, sysctls={"kernel.unprivileged_userns_clone": "0"}),
            "sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        (replace(USER, sysctls={"user.max_user_namespaces": "0"}), "sysctl -w user.max_user_namespaces=10000"),
        (
            replace(USER, sysctls={"kernel.apparmor_restrict_unprivileged_userns": "1"}),
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            replace(USER, mounts="none /usr/lib/drivers 9p ro 0 0\nnone /var/lib/x overlay rw 0 0\n"),
            "/usr/lib/drivers is",
        ),
        (replace(USER, subordinate_uids=0), "usermod --add-subuids 100000-165535 kim"),
        (replace(USER, subordinate_gids=10), "usermod --add-subgids 100000-165535 kim"),
    ],
)
def test_each_lack_has_its_remedy(facts: preflight.Facts, remedy: str) -> None:
    (line,) = preflight.problems(facts, state=STATE)
    assert remedy in line and "\n" not in line


def test_every_problem_at_once() -> None:
    facts = replace(USER, kernel="4.19.0", missing_programs=("ip", "newuidmap"), subordinate_uids=0)
    assert len(preflight.problems(facts, state=STATE)) == 4


def test_subordinate_ids() -> None:
    text = "lee:100000:65536\nkim:165536:65536\nkim:300000:1000\n1001:400000:70000\nbroken\n"
    assert preflight.count_ids(text, "kim", 1000) == 65536
    assert preflight.count_ids(text, "nobody", 1001) == 70000
    assert preflight.count_ids(text, "choi", 1002) == 0
    assert user_namespace.id_map(text, user="kim", own=1000) == [(0, 1000, 1), (1, 165536, 65535)]
    with pytest.raises(MachineError, match="usermod"):
        user_namespace.id_map(text, user="choi", own=1002)
