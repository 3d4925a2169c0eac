"""Processes are found again by their pid files, never mistaken, and ended."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.cluster import processes
from sampan.cluster.processes import Process


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    """One that is ended in the end."""
    made = Process("p", tmp_path / "run" / "p.pid", tmp_path / "logs" / "p.log")
    yield made
    processes.stop(made, 2)


def run(process: Process, code: str) -> int:
    return processes.start(process, [sys.executable, "-c", code]).pid


def test_start_and_stop(process: Process) -> None:
    """SIGTERM is enough, and its output is in the log."""
    pid = run(process, "import time; print('hello', flush=True); time.sleep(60)")
    assert process.pid == pid
    while "hello" not in processes.tail(process.log, 5):
        time.sleep(0.01)
    assert processes.proportional_kib(pid) > 0
    assert processes.stop(process, 5)
    assert process.pid == 0
    assert not process.pid_file.exists()
    assert processes.stop(process, 5)


@pytest.mark.slow
def test_one_that_does_not_listen_is_killed(process: Process) -> None:
    """After the grace."""
    run(process, "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)")
    while "deaf" not in processes.tail(process.log, 5):
        time.sleep(0.01)
    began = time.monotonic()
    assert processes.stop(process, 0.3)
    assert time.monotonic() - began >= 0.3
    assert process.pid == 0


def test_a_pid_used_again_is_not_ours(process: Process) -> None:
    """Its start time tells; nobody else's process is ever signalled."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        process.pid_file.parent.mkdir()
        process.pid_file.write_text(f"{stranger.pid} 1\n")
        assert process.pid == 0
        assert processes.stop(process, 1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("text", ["", "x", "1 2 3", "x y"])
def test_a_damaged_pid_file_is_no_process(process: Process, text: str) -> None:
    """As after a crash of the host."""
    process.pid_file.parent.mkdir()
    process.pid_file.write_text(text)
    assert process.pid == 0


def test_a_process_that_ended_by_itself(process: Process) -> None:
    """A zombie does not count as running."""
    child = processes.start(process, [sys.executable, "-c", ""])
    while processes.start_time(child.pid):
        time.sleep(0.01)
    assert process.pid == 0
    assert processes.wait_gone(child.pid, 1)
    assert processes.proportional_kib(child.pid) == 0


def test_signals_may_go_through_a_command(process: Process) -> None:
    """As sudo kill does; one that is refused is told."""
    pid = run(process, "import time; time.sleep(60)")
    assert not processes.stop(process, 0.05, ["false"])
    assert process.pid == pid
    assert processes.stop(process, 5, ["env", "kill"])
    assert process.pid == 0


DETACHED = """
import time
from sampan.cluster import agent_process
agent_process._detach({log!r})
print("from the background", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_process_that_detaches_itself(process: Process) -> None:
    """It goes on by itself, with its own session and its output in the log."""
    code = DETACHED.format(log=str(process.log))
    assert processes.start_detached(process, [sys.executable, "-c", code])
    pid = process.pid
    assert pid
    while "background" not in processes.tail(process.log, 5):
        time.sleep(0.01)
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3] == str(pid)
    assert processes.stop(process, 5)
    assert not processes.start_detached(process, ["false"])
    assert not processes.start_detached(process, ["true"])


def test_the_end_of_a_log(tmp_path: Path) -> None:
    """The last lines; nothing of a log that is not there."""
    log = tmp_path / "log"
    log.write_bytes(b"one\ntwo\n\xff three\n")
    assert processes.tail(log, 2) == "two\n� three"
    assert processes.tail(tmp_path / "none", 2) == ""


def test_one_that_has_ended_is_not_one_to_come(process: Process) -> None:
    """Nor is one that was not started, or of which half a note is there."""
    assert not process.has_ended
    process.pid_file.parent.mkdir()
    process.pid_file.write_text("12")
    assert not process.has_ended
    process.pid_file.unlink()
    pid = run(process, "import time; time.sleep(60)")
    assert not process.has_ended
    os.kill(pid, signal.SIGKILL)
    assert processes.wait_gone(pid, 5)
    assert process.has_ended


def test_what_the_starter_ignores_is_heeded() -> None:
    """A shell has the commands that it starts in the background ignore SIGINT and SIGQUIT; nohup has them ignore SIGHUP.

    Some service managers ignore SIGCHLD, so as not to be told of their children, and forget to undo that.
    """
    code = (
        "import signal, subprocess\n"
        "from sampan.cluster import processes\n"
        "for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD): signal.signal(number, signal.SIG_IGN)\n"
        "processes.heed_signals()\n"
        "print(subprocess.run(['grep', 'SigIgn', '/proc/self/status'], capture_output=True, text=True).stdout.split()[1])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    ignored = {number for number in signal.valid_signals() if int(told, 16) >> number - 1 & 1}
    assert not ignored & {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD}


def test_only_its_last_words_of_this_time(tmp_path: Path) -> None:
    """What an earlier process left in the log is not taken for them, unless the log was put aside meanwhile."""
    log = tmp_path / "p.log"
    log.write_text("earlier\n")
    since = log.stat().st_size
    assert processes.tail(log, 1, since) == ""
    log.write_text("earlier\nnow\n")
    assert processes.tail(log, 1, since) == "now"
    log.write_text("new\n")
    assert processes.tail(log, 1, since) == "new"


def test_what_ended_it(process: Process) -> None:
    """The signal that killed it; nothing of one that ended by itself."""
    kill = "import os; os.kill(os.getpid(), {})".format
    for code, how in ((kill(9), "SIGKILL"), (kill(40), "signal 40"), ("raise SystemExit(1)", "")):
        child = processes.start(process, [sys.executable, "-c", code])
        handle = os.pidfd_open(child.pid)
        assert select.select([handle], [], [], 60)[0]
        assert processes.killed_by(handle) == how
        os.close(handle)
        child.wait()


def test_one_is_found_by_its_words(process: Process) -> None:
    """All of them must be there, each as a whole."""
    code = "import time; time.sleep(60)  # of a test"
    pid = run(process, code)
    assert pid in processes.with_words(sys.executable, code)
    assert pid not in processes.with_words(sys.executable, code, "--more")
    assert pid not in processes.with_words(code[:-1])


def test_one_that_ended_before_it_was_noted_has_ended(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for one that was never started, and waited for."""
    monkeypatch.setattr(processes, "start_time", lambda pid: "")
    processes.start(process, [sys.executable, "-c", ""]).wait()
    assert process.pid == 0
    assert process.has_ended


def test_one_that_cannot_be_noted_is_not_left_behind(process: Process) -> None:
    """Nobody would find it again."""
    code = f"import time; print('here', flush=True); time.sleep(600)  # {process.log}"
    process.pid_file.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        processes.start(process, [sys.executable, "-c", code])
    assert not processes.with_words(code)
    code = DETACHED.format(log=str(process.log))
    with pytest.raises(IsADirectoryError):
        processes.start_detached(process, [sys.executable, "-c", code])
    assert not processes.with_words(code)
    process.pid_file.rmdir()


def test_one_that_hands_on_while_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has ended, and its child was not there yet when the first look began; only two looks say that there is none."""
    line = frozenset({"agent", "mark"})
    looks: list[dict[int, frozenset[str]]] = [{}, {7: line}, {}, {}]
    monkeypatch.setattr(processes, "command_lines", lambda: looks.pop(0))
    assert processes.with_words("agent", "mark") == {7}
    assert processes.with_words("agent", "mark") == set()
    assert not looks
