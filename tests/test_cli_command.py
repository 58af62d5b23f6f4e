"""The command as a whole: help, version, completion, and ending with one line and the right exit code."""

import os
import sys
from pathlib import Path

import pytest

import pubsub.cli
from pubsub import __version__
from pubsub.cli.command import run
from tests.support.processes import Program, run_command

SCRIPT = Path(sys.executable).with_name("fastpubsub")


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and err.startswith("fastpubsub: ")
    return err


def test_help_names_every_command_and_shows_how_they_fit_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for word in ("serve", "pub", "sub", "check", "completion", 'fastpubsub pub /news "hello, everyone"'):
        assert word in out


@pytest.mark.parametrize("name", ["serve", "pub", "sub", "check", "completion"])
def test_help_of_every_command_fits_a_terminal_and_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "-h"]) == 0
    out = capsys.readouterr().out
    assert f"fastpubsub {name}" in out.partition("Options:")[2] or name == "completion"
    assert max(map(len, out.splitlines())) <= 100


def test_version_says_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"fastpubsub {__version__} (Python 3.")


def test_without_arguments_it_shows_help_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "Usage: fastpubsub" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "fault", "cure"),
    [
        (["dance"], "'dance'", "see fastpubsub --help"),
        (["serve", "--lag", "1"], "--lag", "see fastpubsub serve --help"),
        (["serve", "--ping-interval", "soon"], "--ping-interval='soon'", "such as 5s"),
        (["serve", "--max-lag-bytes", "-1"], "--max-lag-bytes", "such as"),
        (["serve", "--port", "65536"], "65536", "up to 65535"),
        (["serve", "localhost"], "ADDR='localhost'", "HOST:PORT"),
        (["serve", "--drain-seconds", "x"], "'x' is no duration", "such as 5s"),
        (["sub", "localhost:8080/news"], "'localhost:8080/news'", "ws://HOST:PORT/TOPIC"),
        (["sub", "http://localhost/"], "'http://localhost/'", "ws://localhost/"),
        (["sub", "--count", "0"], "'--count'", "see fastpubsub sub --help"),
        (["sub", "/x", "-H", "token"], "'token' is no header", "such as 'Authorization"),
        (["sub", "/x", "--name", "a b"], "'a b'", "characters"),
        (["pub", "/x", "hello", "-m", "hello"], "from -m", "one way"),
        (["pub", "/x", "--file", "/does/not/exist"], "/does/not/exist", "see fastpubsub pub --help"),
        (["check", "--timeout", "soon"], "'soon'", "such as 5s"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_its_cure_and_exits_with_2(
    arguments: list[str], fault: str, cure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    line = only_line(capsys)
    assert fault in line and cure in line


def test_a_bad_variable_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_ADDR", "nonsense")
    for arguments in (["serve"], ["sub", "/news"]):
        assert run(arguments) == 2
        assert "PUBSUB_ADDR='nonsense'" in only_line(capsys)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_FASTPUBSUB_COMPLETE" in capsys.readouterr().out


def test_completion_knows_the_flags_and_their_values() -> None:
    for words, expected in (("fastpubsub serve --max-l", "--max-lag-age"), ("fastpubsub sub --format ", "lines")):
        asked = {"_FASTPUBSUB_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        assert f"plain,{expected}" in run_command(environment=asked).stdout.decode().splitlines()


def test_help_into_a_pipe_that_nobody_reads_is_no_traceback() -> None:
    with Program("-m", "pubsub", "--help") as program:
        program.close_stdout()
        assert "Traceback" not in program.finish().stderr


def test_a_closed_standard_output_is_no_place_for_a_socket() -> None:
    code = (
        "import os, socket; os.close(0); os.close(1)\n"
        "from pubsub.cli.pipes import fill_standard_descriptors; fill_standard_descriptors()\n"
        "os._exit(socket.socket().fileno())"
    )
    with Program("-c", code) as program:
        assert program.finish().code > 2


# -- The other package named pubsub --------------------------------------------------------------------------------


@pytest.mark.parametrize(("names", "owner"), [(["pub", "utils"], "Pypubsub's"), (["queue"], "another project's")])
def test_another_package_named_pubsub_is_recognised(names: list[str], owner: str, tmp_path: Path) -> None:
    # As an installation leaves it: both packages' files in one folder, and the other's __init__.py.
    package = tmp_path / "pubsub"
    package.mkdir()
    (package / "cli").symlink_to(Path(pubsub.cli.__file__).parent)
    (package / "__init__.py").write_text(f"__all__ = {names}\n")
    script = "import sys; sys.path.insert(0, sys.argv.pop(1)); from pubsub.cli import main; main()"
    with Program("-c", script, str(tmp_path), "serve") as program:
        finished = program.finish()
    assert finished.code == 2
    assert finished.stderr.count("\n") == 1
    assert owner in finished.stderr and str(package) in finished.stderr and "python -m venv" in finished.stderr


def test_python_m_pubsub_is_the_command_too() -> None:
    finished = run_command("--version")
    assert (finished.code, finished.stdout.split()[:2]) == (0, [b"fastpubsub", __version__.encode()])


@pytest.mark.skipif(not os.path.exists(SCRIPT), reason="fastpubsub is not installed")
def test_the_console_script_runs() -> None:
    with Program(str(SCRIPT), "--version") as program:
        assert program.finish().code == 0
