"""A library's thread that never sleeps is found and given the least priority; no other is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.unit.training.conftest import ROOT
from training import background

# A thread that computes without Python's lock and one that sleeps, beside the main one, which looks
PROGRAM = """
import hashlib, json, os, threading
from training import background
before = background.threads()
spinner = threading.Thread(target=hashlib.pbkdf2_hmac, args=("sha256", b"", b"", 10**9), daemon=True)
spinner.start()
sleeper = threading.Thread(target=threading.Event().wait, daemon=True)
sleeper.start()
found = background.spinning(background.threads() - before)
background.demote(found)
nice = {kind: os.getpriority(os.PRIO_PROCESS, thread.native_id) for kind, thread in
        (("spinner", spinner), ("sleeper", sleeper), ("main", threading.main_thread()))}
print(json.dumps({"found": [spinner.native_id] == list(found), "nice": nice}), flush=True)
os._exit(0)
"""


def test_only_what_spins_is_put_behind_all_else() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    said = json.loads(done.stdout)
    assert said == {"found": True, "nice": {"spinner": 19, "sleeper": os.nice(0), "main": os.nice(0)}}


def test_a_thread_that_sleeps_once_or_ends_does_not_spin(tmp_path: Path) -> None:
    states = {1: ["R"] * 20, 2: ["R"] * 5 + ["S"] + ["R"] * 20, 3: ["R", "R", ""]}

    def turn(_: float = 0) -> None:
        for thread, waiting in states.items():
            (tmp_path / str(thread)).mkdir(exist_ok=True)
            stat = tmp_path / str(thread) / "stat"
            if state := waiting.pop(0) if waiting else "":
                stat.write_text(f"{thread} (a ) name) {state} 1 1")
            else:
                stat.unlink(missing_ok=True)

    turn()
    assert background.threads(tmp_path) == {1, 2, 3}
    assert background.spinning({1, 2, 3, 4}, tasks=tmp_path, sleep=turn) == {1}
