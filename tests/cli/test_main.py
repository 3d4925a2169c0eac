"""The command line: usage, help, exit codes, and one line for each failure."""

import gc
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sampan import __main__
from sampan.cli import main
from sampan.cli.main import CommandError

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No cluster of the user's is seen."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return tmp_path / "share" / "sampan"


def test_usage(capsys: Capture) -> None:
    """Asked for it is an answer; without a command it is wrong usage."""
    for asked in (["--help"], ["-h"], ["help"]):
        assert main.run(asked) == 0
        out = capsys.readouterr().out
        assert all(name in out for name in main.COMMANDS)
    assert main.run([]) == 2
    assert "usage: sampan COMMAND" in capsys.readouterr().out


def test_an_unknown_command(capsys: Capture) -> None:
    """One line on stderr, exit code 2."""
    assert main.run(["dwon"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "sampan: unknown command 'dwon'; see: sampan --help\n"


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_has_help(command: str, capsys: Capture) -> None:
    """And refuses options that it has not got."""
    assert main.run([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: sampan {command}")
    assert main.run([command, "--no-such-option"]) == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["up", "--api-port", "0"],
        ["up", "--api-port", "x"],
        ["up", "--api-port", "65536"],
        ["up", "--nodes", "-1"],
        ["up", "--nodes", "251"],
        ["up", "--runtime", "docker"],
        ["up", "--store", "mysql"],
        ["up", "--listen", "here"],
        ["up", "--name", "Upper"],
        ["up", "--name", "a_b"],
        ["up", "--name", "-a"],
        ["up", "--name", ""],
        ["up", "--name", "x" * 41],
        ["up", "surplus"],
        ["image"],
        ["image", "import", "."],
        ["completion"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: Capture) -> None:
    """Exit code 2, and nothing is made."""
    assert main.run(arguments) == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--kubeconfig", "k"], ["--context", "c"], ["--open-services", "*"], ["--data-dir", "."]]
)
def test_rights_are_printed_for_any_cluster(words: list[str], capsys: Capture) -> None:
    """What says how to run is refused there: it would have no effect."""
    assert main.run(["run", "rollouts", "--rbac", *words]) == 1
    assert f"--rbac asks no cluster and runs nothing: leave out {words[0]}," in capsys.readouterr().err
    assert main.run(["run", "rollouts", "--rbac"]) == 0
    assert "name: sampan-rollouts" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["status", "logs", "down", "image list"])
def test_no_such_cluster(command: str, capsys: Capture, home: Path) -> None:
    """Where it was looked for, and how to start one."""
    assert main.run([*command.split(), "--name", "tide"]) == 1
    name = command.split()[0]
    expected = f"sampan {name}: there is no cluster in {home / 'tide'}; start one with: sampan up\n"
    assert capsys.readouterr().err == expected


def test_no_clusters(capsys: Capture) -> None:
    """Nothing to list is no failure."""
    assert main.run(["ls"]) == 0
    assert "sampan up" in capsys.readouterr().out


def test_a_damaged_cluster(capsys: Capture, home: Path) -> None:
    """Told by every command, with its path; `ls` goes on."""
    (home / "tide").mkdir(parents=True)
    (home / "tide" / "cluster.json").write_text("{")
    for command in ("up", "status", "down", "logs"):
        assert main.run([command, "--name", "tide"]) == 1
        assert f"{home / 'tide' / 'cluster.json'} is damaged" in capsys.readouterr().err
    assert main.run(["ls"]) == 1
    captured = capsys.readouterr()
    assert "no clusters" in captured.out
    assert "is damaged" in captured.err


def failing(error: BaseException) -> Any:
    def run(arguments: Any) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (CommandError("no; mend it"), "no; mend it"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied; mend its permissions"),
        (OSError(28, "No space left on device"), "No space left on device; free some space"),
        (OSError("odd"), "odd"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_a_failure_is_one_line(
    error: BaseException, text: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What, why, mend; exit code 1."""
    monkeypatch.setattr("sampan.cli.version.run", failing(error))
    assert main.run(["version"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"sampan version: {text}")
    assert err.count("\n") == 1


def test_version(capsys: Capture) -> None:
    """The flag and the command say the same."""
    assert main.run(["version"]) == 0
    said = capsys.readouterr().out
    assert "Kubernetes API v1.36" in said
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys: Capture) -> None:
    """Names every command, and the shell itself accepts it."""
    assert main.run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in main.COMMANDS)
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_bash_completes(capsys: Capture) -> None:
    """Commands, and the verbs of image."""
    main.run(["completion", "bash"])
    script = capsys.readouterr().out
    words = 'COMP_CWORD={n}; COMP_WORDS=({words}); _sampan; echo "${{COMPREPLY[*]}}"'
    for n, typed, expected in ((1, "sampan st", "status"), (2, "sampan image im", "import")):
        text = script + "\n" + words.format(n=n, words=typed)
        done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


def test_what_is_built_and_deployed_is_named(capsys: Capture) -> None:
    """A folder is asked for, and a cluster must be there; help needs neither."""
    for command in (["image", "build"], ["deploy"], ["dev"]):
        assert main.run(command) == 2
        assert main.run([*command, "--help"]) == 0
        assert "usage: sampan" in capsys.readouterr().out
        assert main.run([*command, "."]) == 1
        assert "there is no cluster in" in capsys.readouterr().err


def test_a_command_ends_without_a_last_look_for_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which would take longer than all else that it does in the end; its exit code is the command's."""
    monkeypatch.setattr("sys.argv", ["sampan", "no-such-command"])
    try:
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
    assert ended.value.code == 2
