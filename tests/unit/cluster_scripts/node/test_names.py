"""A machine's own name leads to its address, whatever the image says."""

from __future__ import annotations

from pathlib import Path

from cluster_scripts.node import names
from tests.unit.cluster_scripts.made import Machine

NAME, ADDRESS = "ip-10-0-0-7.ap-northeast-2.compute.internal", "10.0.0.7"


def changed(text: str) -> str:
    return names.without_loopback(text, name=NAME, address=ADDRESS)


def test_debians_line_goes_and_the_address_comes() -> None:
    assert changed("127.0.0.1 localhost\n127.0.1.1 ip-10-0-0-7\n") == (
        f"127.0.0.1 localhost\n{ADDRESS} {NAME} ip-10-0-0-7\n"
    )


def test_other_names_of_loopback_and_comments_stay() -> None:
    assert changed(f"# made by hand\n127.0.0.1 localhost {NAME} # first\n::1 localhost\n") == (
        f"# made by hand\n127.0.0.1 localhost  # first\n::1 localhost\n{ADDRESS} {NAME} ip-10-0-0-7\n"
    )


def test_what_is_right_is_left_alone() -> None:
    right = f"127.0.0.1 localhost\n{ADDRESS} {NAME}\n10.0.0.9 other\n"
    assert changed(right) == right
    assert changed(changed("127.0.1.1 ip-10-0-0-7\n")) == changed("127.0.1.1 ip-10-0-0-7\n")


def test_the_file_is_written_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    (tmp_path / "etc").mkdir(exist_ok=True)
    (tmp_path / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 ip-10-0-0-7\n")
    assert names.settle(machine.system, name=NAME, address=ADDRESS)
    assert not names.settle(machine.system, name=NAME, address=ADDRESS)
    assert (tmp_path / "etc/hosts").read_text() == f"127.0.0.1 localhost\n{ADDRESS} {NAME} ip-10-0-0-7\n"
