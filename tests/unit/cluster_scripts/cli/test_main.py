"""The frame of the command line: help that comes at once, exit codes, and messages instead of tracebacks."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest

from cluster_scripts.cli import calling
from cluster_scripts.cli.main import COMMANDS, PACKAGE, main
from cluster_scripts.jobs.errors import JobFailed, NoSuchJob, Unreachable


def test_help_names_every_command_and_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, line, _ in COMMANDS:
        assert f"  {name} " in text
        assert line in text
    assert max(len(line) for line in text.splitlines()) < 80


def test_no_argument_is_a_usage_error_that_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sumbit"]) == 2
    assert "did you mean `dure submit`?" in capsys.readouterr().err


@pytest.mark.parametrize("module", [module for _, _, module in COMMANDS])
def test_every_command_listed_can_be_called(module: str) -> None:
    assert callable(import_module(f"{PACKAGE}.{module}").run)


@pytest.mark.parametrize("name", [name for name, _, _ in COMMANDS])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert f"usage: dure {name}" in capsys.readouterr().out


def test_the_help_imports_nothing_heavy() -> None:
    heavy = ("argparse", "boto3", "pydantic", "logging", "json", "re", "yaml")
    program = f"""
import sys
sys.path[:] = {sys.path!r}
from cluster_scripts.cli.main import main
main(["--help"])
print([name for name in {heavy!r} if name in sys.modules])
"""
    # -S: what site-packages' .pth files import is not ours
    result = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("error", "code"),
    [(NoSuchJob("no job 7"), 2), (JobFailed("job 7 failed"), 1), (Unreachable("the head is away"), 3)],
)
def test_an_error_of_ours_is_one_line_and_its_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(argv: list[str]) -> int:
        raise error

    monkeypatch.setattr(calling, "import_module", lambda name: SimpleNamespace(run=run))
    assert calling.call("any", []) == code
    assert capsys.readouterr().err == f"dure: {error}\n"


def test_an_error_that_is_not_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[str]) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(calling, "import_module", lambda name: SimpleNamespace(run=run))
    with pytest.raises(ZeroDivisionError):
        calling.call("any", [])


@pytest.mark.parametrize(
    "program",
    [
        "from cluster_scripts.cli.main import main; sys.exit(main(['--help']))",
        "from types import SimpleNamespace as S; from cluster_scripts.cli import calling;"
        "calling.import_module = lambda name: S(run=lambda argv: print('x' * 1000) or 0);"
        "sys.exit(calling.call('any', []))",
    ],
)
def test_a_reader_that_goes_away_is_no_error(program: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupt_ends_as_shells_expect(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(calling, "import_module", lambda name: SimpleNamespace(run=run))
    assert calling.call("any", []) == 130
