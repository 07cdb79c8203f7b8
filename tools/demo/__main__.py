"""python -m tools.demo: the main job on this machine. See the package's docstring; `make demo` runs set-up first."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from infra.config.loader import load_cluster
from tools import corpus
from tools.demo import report
from tools.demo.account import compute_nodes
from tools.demo.runner import Runner, StepFailed, base_environment

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "out/demo"
STATE = ROOT / ".dure/demo-cloud"
CLUSTER_FILE = ROOT / "clusters/local.yaml"
NODES = 2
PROMPT = "파일을 저장하려면"
SENTENCES = ("아버지가 방에 들어가신다", "아버지 가방에 들어가신다")  # natural, wrongly spaced: the talk's first slide
TRAINER = ROOT / ".envs/trainer/bin/python"
HEAD_TIMEOUT, IDLE_TIMEOUT = 180.0, 180.0  # seconds


def silent(_: str) -> None:
    """For output that is parsed, not shown."""


def first_sentence(text: str) -> str:
    """`text` up to its first full stop, question or exclamation mark; all of it where there is none."""
    return re.split(r"(?<=[.?!])\s", text.strip(), maxsplit=1)[0]


class Demo:
    """The steps, in order. Each leaves what the next one needs in this object."""

    def __init__(self) -> None:
        self.runner = Runner(root=ROOT, logs=OUT / "logs", env=base_environment(ROOT), total=10)
        self.cluster = load_cluster(CLUSTER_FILE)
        self.job_ids: list[str] = []
        self.seen_while_running = False
        self.cloud_is_up = False

    def all_steps(self) -> dict[str, Any]:
        """Runs every step; returns the summary. Errors: StepFailed."""
        run, step = self.runner.run, self.runner.step
        # nothing of an earlier run may be taken for this one's: a copy into a folder that is there goes inside it
        shutil.rmtree(OUT, ignore_errors=True)
        with step("start the local cloud"):
            self.start_cloud()
        with step("cdk bootstrap"):
            run(
                ["cdk", "bootstrap", "-c", f"cluster={CLUSTER_FILE}", "--output", str(OUT / "cdk.out")], log="bootstrap"
            )
        with step("cdk deploy --all: network, storage, cluster, monitoring"):
            deploy = ["cdk", "deploy", "--all", "--require-approval", "never", "--progress", "events"]
            run([*deploy, "-c", f"cluster={CLUSTER_FILE}", "--output", str(OUT / "cdk.out")], log="deploy")
        with step("wait for the head"):
            self.wait_for_head()
        with step("Korean corpus into the bucket (it appears under /fsx/data)"):
            make = [sys.executable, "-m", "tools.corpus", "--out", str(OUT / "text/libreoffice-help-ko.txt")]
            run(make, log="corpus", on_line=self.runner.say)
            run(["dure", "cp", str(OUT / "text"), ":/fsx/data/text"], log="upload")
        with step(f"three jobs: tokenizer, token shards, pretraining on {NODES} nodes"):
            self.train()
        with step("the model, from the bucket"):
            run(["dure", "cp", ":/fsx/data/models/demo", str(OUT / "model")], log="download")
        with step("a sentence, and two probabilities"):
            sentence, probabilities = self.use_model()
        with step("idle nodes are terminated"):
            launched, terminated = self.wait_until_idle()
        with step("dure down: everything is deleted"):
            out = run(["dure", "down", str(CLUSTER_FILE), "--delete-data", "--yes"], log="down")
            self.runner.say(out.splitlines()[-1])
        return self.summary(sentence=sentence, probabilities=probabilities, launched=launched, terminated=terminated)

    def start_cloud(self) -> None:
        """Starts the local cloud and takes over the environment that it names."""
        self.cloud_is_up = True
        self.runner.run(["dure", "cloud", "up", "--state", str(STATE)], log="cloud")
        text = self.runner.run(["dure", "cloud", "env", "--state", str(STATE)], log="cloud", on_line=silent)
        for line in text.splitlines():
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                self.runner.env[name] = shlex.split(value)[0] if value else ""
        self.runner.env["DURE_CLUSTER"] = self.cluster.name

    def ask(self, *words: str) -> Any:
        """One quiet `dure ... --json`; None while the cluster does not answer."""
        argv = ["dure", *words, "--json"]
        done = subprocess.run(argv, cwd=ROOT, env=self.runner.env, capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def wait_for_head(self) -> None:
        """Until `dure nodes` answers."""
        deadline = time.monotonic() + HEAD_TIMEOUT
        while self.ask("nodes") is None:
            if time.monotonic() > deadline:
                self.runner.run(["dure", "nodes"], log="nodes")  # says why, as StepFailed
            time.sleep(0.3)

    def train(self) -> None:
        """runs/cpu.sh, the cheap twin of the talk's run; its lines are shown as they come over CloudWatch Logs."""
        settings = {"NAME": "demo", "NODES": str(NODES), "LICENCE": corpus.LICENCE}
        self.runner.run(["bash", "runs/cpu.sh"], log="train", on_line=self.on_training_line, env=settings)
        if not self.seen_while_running:
            raise StepFailed(
                "no line of the pretraining job was seen while it was running: `dure logs -f` did not stream"
            )
        self.job_ids = [job["id"] for job in self.ask("jobs") or []]

    def on_training_line(self, line: str) -> None:
        """Shows a line; at the first step line asks whether that job is running at this moment."""
        if step := re.match(r"^step (\d+)/\d+ loss ", line):
            shown = self.runner.live if self.runner.tty or int(step[1]) % 100 > 1 else self.runner.say
            shown(line)
            if not self.seen_while_running:
                self.seen_while_running = any(job["state"] == "running" for job in self.ask("jobs") or [])
        else:
            self.runner.say(line)

    def use_model(self) -> tuple[str, list[dict[str, Any]]]:
        """A sentence by the model as downloaded from the bucket, and the probabilities of two sentences."""
        model = str(OUT / "model")
        generate = [
            str(TRAINER),
            "-m",
            "training.generate",
            "--model",
            model,
            "--prompt",
            PROMPT,
            "--seed",
            "1",
            "--json",
        ]
        sentence = json.loads(self.runner.run(generate, log="generate", on_line=silent).splitlines()[-1])["text"]
        score = [str(TRAINER), "-m", "training.score", "--model", model, "--json", *SENTENCES]
        scored = [
            json.loads(line)
            for line in self.runner.run(score, log="score", on_line=silent).splitlines()
            if line[:1] == "{"
        ]
        self.runner.say(sentence := first_sentence(sentence))
        return sentence, scored

    def wait_until_idle(self) -> tuple[int, int]:
        """Waits until Slurm's power saving has ended every compute node; returns launched and terminated counts."""
        deadline = time.monotonic() + IDLE_TIMEOUT
        while True:
            states = compute_nodes(self.cluster.name, self.runner.env)
            gone = sum(state == "terminated" for state in states.values())
            if states and gone == len(states):
                return len(states), gone
            if time.monotonic() > deadline:
                raise StepFailed(f"after {IDLE_TIMEOUT:.0f} s not every idle node is terminated: {states}")
            self.runner.live(f"{gone} of {len(states)} terminated")
            time.sleep(0.5)

    def summary(
        self, *, sentence: str, probabilities: list[dict[str, Any]], launched: int, terminated: int
    ) -> dict[str, Any]:
        """What out/demo/summary.json holds. Errors: StepFailed where the model is no better than counting words."""
        trained = json.loads((OUT / "model/training.json").read_text(encoding="utf-8"))
        if trained["job"] not in self.job_ids:
            raise StepFailed(f"the model downloaded is job {trained['job']}'s, and this demo's are {self.job_ids}")
        held_out, unigram = trained["held_out_bits_per_byte"], trained["unigram_bits_per_byte"]
        if not held_out < unigram:
            raise StepFailed(f"held-out bits per byte {held_out:.3f} are not below the unigram model's {unigram:.3f}")
        return {
            "steps": self.runner.steps,
            "loss": trained["loss"],
            "heldout_bits_per_byte": held_out,
            "unigram_bits_per_byte": unigram,
            "records_per_second": trained["records_per_second"],
            "sentence": sentence,
            "prompt": PROMPT,
            "probabilities": probabilities,
            "nodes_launched": launched,
            "nodes_terminated": terminated,
            "job_ids": self.job_ids,
            "log_line_seen_while_running": self.seen_while_running,
        }

    def clean_up(self) -> None:
        """Stops the local cloud; with it go its machines, network and sockets. Ctrl-C no longer interrupts."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.cloud_is_up:
            argv = ["dure", "cloud", "down", "--state", str(STATE)]
            subprocess.run(argv, cwd=ROOT, env=self.runner.env, check=False, stdin=subprocess.DEVNULL)


def setup_step() -> list[dict[str, object]]:
    """The step that ran before this program: set-up, with its time."""
    file = ROOT / "out/setup/last.json"
    return [{"name": "set-up", "seconds": json.loads(file.read_text())["seconds"]}] if file.exists() else []


def main() -> int:
    """Exit codes: 0 the model was trained and all is cleaned up; 1 a step failed; 130 interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    demo = Demo()
    demo.runner.steps.extend(setup_step())
    demo.runner.total += len(demo.runner.steps)
    try:
        summary = demo.all_steps()
    except StepFailed as error:
        demo.runner.clear()
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; cleaning up", file=sys.stderr)
        return 130
    finally:
        demo.clean_up()
    report.write_summary(OUT / "summary.json", summary)
    print(report.for_a_person(summary, load_cluster(ROOT / "clusters/kogpt2-p3dn.yaml"), nodes=8))
    print(f"\nAll of it as JSON: {OUT / 'summary.json'}; every command's output: {demo.runner.logs}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
