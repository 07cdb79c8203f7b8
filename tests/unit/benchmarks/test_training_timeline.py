"""A timeline as Horovod 0.28.1 wrote it (shortened): clock, names, nested activities, a torn end."""

from __future__ import annotations

import json

import pytest

from benchmarks.training_timeline import hidden, joined, parse, reductions

EVENTS = [
    {"name": "process_name", "ph": "M", "pid": 0, "args": {"start_time_since_epoch_in_micros": 1_000_000}},
    {"name": "process_name", "ph": "M", "pid": 1, "args": {"name": "horovod_allreduce.meet"}},
    {"ph": "B", "name": "NEGOTIATE_ALLREDUCE", "ts": 6128, "pid": 1},
    {"ph": "X", "name": "0", "ts": 6129, "pid": 1, "dur": 0},
    {"ph": "E", "ts": 9924, "pid": 1},
    {"ph": "B", "name": "ALLREDUCE", "ts": 13933, "pid": 1},
    {"ph": "B", "name": "GLOO_ALLREDUCE", "ts": 13946, "pid": 1},
    {"ph": "E", "ts": 18075, "pid": 1},
    {"ph": "E", "ts": 18092, "pid": 1, "args": {"dtype": "float32", "shape": "[1]"}},
    {"name": "process_name", "ph": "M", "pid": 2, "args": {"name": "horovod_allreduce.0:12_1of13"}},
    {"ph": "B", "name": "ALLREDUCE", "ts": 499_990, "pid": 2},
    {"ph": "B", "name": "MEMCPY_IN_FUSION_BUFFER", "ts": 499_995, "pid": 2},
    {"ph": "E", "ts": 500_000, "pid": 2},
    {"ph": "B", "name": "GLOO_ALLREDUCE", "ts": 500_000, "pid": 2},
    {"ph": "E", "ts": 700_000, "pid": 2},
    {"ph": "E", "ts": 700_010, "pid": 2},
]


def test_only_the_reductions_of_gradients_count() -> None:
    assert reductions(EVENTS, without=("meet",)) == [pytest.approx((1.5, 1.7))]
    assert len(reductions(EVENTS)) == 2


def test_a_torn_timeline_loses_its_last_event_only() -> None:
    text = "[\n" + ",".join(json.dumps(event) for event in EVENTS)
    assert parse(text + "]") == EVENTS
    assert parse(text) == EVENTS
    assert parse(text[:-9]) == EVENTS[:-1]
    assert parse(text + ',{"ph": "E", "ts"') == EVENTS


def test_overlapping_reductions_count_once() -> None:
    assert joined([(3.0, 4.0), (1.0, 2.0), (1.5, 2.5), (2.5, 2.75)]) == [(1.0, 2.75), (3.0, 4.0)]


def test_what_ran_before_the_end_of_the_backward_pass_is_hidden() -> None:
    intervals = [(1.0, 2.0), (2.5, 3.5), (11.0, 11.5)]
    assert hidden(intervals, [(0.0, 3.0, 4.0), (10.0, 11.0, 12.0)]) == [(2.0, 1.5), (0.5, 0.0)]
