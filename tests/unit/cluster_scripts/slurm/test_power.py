"""What Slurm's power saving says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_scripts.jobs.errors import UnexpectedAnswer
from cluster_scripts.slurm.power import Machine, Resume, node_states, resume_file

# captured from Slurm 22.05.8; the second has the keys of 23.02
FILE_22_05 = '{"jobs":[{"job_id":1,"nodes":"gpu-[1-2]"}],"all_nodes":"gpu-[1-2]"}'
FILE_23_02 = (
    '{"all_nodes_resume":"gpu-[1-3]","jobs":[{"job_id":7,"features":null,"nodes_alloc":"gpu-[1-2]","nodes_resume":"gpu-2",'
    '"oversubscribe":"NO","partition":"gpu","reservation":null},{"job_id":8,"nodes_alloc":"gpu-3","nodes_resume":"gpu-3"}]}'
)


def test_a_job_and_its_nodes() -> None:
    assert resume_file(FILE_22_05, wanted=["gpu-1", "gpu-2"]) == [Resume(job_id="1", nodes=("gpu-1", "gpu-2"))]


def test_later_releases_name_the_nodes_to_launch() -> None:
    assert resume_file(FILE_23_02, wanted=["gpu-2", "gpu-3"]) == [
        Resume(job_id="7", nodes=("gpu-2",)),
        Resume(job_id="8", nodes=("gpu-3",)),
    ]


def test_nodes_that_run_already_are_not_launched_again() -> None:
    assert resume_file(FILE_22_05, wanted=["gpu-2"]) == [Resume(job_id="1", nodes=("gpu-2",))]


def test_nodes_that_no_job_named_come_last() -> None:
    assert resume_file(FILE_22_05, wanted=["cpu-1", "gpu-1", "gpu-2"])[-1] == Resume(job_id=None, nodes=("cpu-1",))


def test_a_node_is_launched_once() -> None:
    text = '{"jobs":[{"job_id":1,"nodes":"gpu-1"},{"job_id":2,"nodes":"gpu-[1-2]"}]}'
    assert [resume.nodes for resume in resume_file(text, wanted=["gpu-1", "gpu-2"])] == [("gpu-1",), ("gpu-2",)]


@given(
    st.text(max_size=60)
    | st.sampled_from(["[]", "{}", '{"jobs":1}', '{"jobs":[{}]}', '{"jobs":[{"job_id":1,"nodes":3}]}'])
)
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(UnexpectedAnswer):
        resume_file(text, wanted=["gpu-1"])


def test_a_machine_in_a_comment() -> None:
    machine = Machine(instance_id="i-0abc", instance_type="p3dn.24xlarge", zone="us-east-1a")
    assert Machine.from_comment(machine.comment()) == machine
    for text in ("", "(null)", "a comment of somebody", "i-0abc"):
        assert Machine.from_comment(text) is None


def test_short_states() -> None:
    text = (
        "gpu-1 alloc 10.0.0.7\ngpu-2 alloc# gpu-2\ngpu-3 down# gpu-3\n"
        "gpu-4 idle~ gpu-4\ngpu-5 down* 10.0.0.8\ngpu-6 drng 10.0.0.9\n"
    )
    states = node_states(text)
    assert [state.waiting for state in states.values()] == [False, True, True, True, True, False]
    assert [name for name, state in states.items() if state.down] == ["gpu-3", "gpu-5", "gpu-6"]
    assert states["gpu-1"].address == "10.0.0.7"
    with pytest.raises(UnexpectedAnswer):
        node_states("gpu-1 alloc")
