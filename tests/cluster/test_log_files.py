"""The processes' own logs stay at a size."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging, os, sys
from sampan.cluster import log_files, log_format
log_files.MAX_BYTES = 2000
log_format.log_files.Handler.__init__.__defaults__ = (2000,)
log_format.configure("text", is_own=sys.argv[1] == "own")
for n in range(200):
    logging.getLogger("x").info("line %d", n)
    os.write(1, b"")
os.write(1, b"the end\\n")
"""


WITHOUT_DESCRIPTORS = """
import logging, os, resource, sys
from sampan.cluster import log_files
logger = logging.getLogger("x")
logger.propagate = False
logger.addHandler(log_files.Handler(max_bytes=500))
held = []
for n in range(80):
    if n == 5:
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        try:
            while True:
                held.append(os.open("/dev/null", 0))
        except OSError:
            pass
    if n == 50:
        for each in held:
            os.close(each)
    logger.warning("line %d %s", n, "x" * 90)
"""


def run(log: Path, whose: str) -> None:
    with log.open("ab") as output:
        subprocess.run([sys.executable, "-c", PROGRAM, whose], stdout=output, stderr=output, check=True)


def test_a_full_log_is_put_aside(tmp_path: Path) -> None:
    """The newest lines are in the file, those before in .1 to .3, nothing between is lost, and older ones are gone."""
    log = tmp_path / "control-plane.log"
    log.touch(0o600)
    run(log, "own")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "control-plane.log",
        *(f"control-plane.log.{n}" for n in (1, 2, 3)),
    ]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert all(path.stat().st_size < 2200 for path in tmp_path.iterdir())
    parts = [Path(f"{log}.{n}").read_text() for n in (3, 2, 1)] + [log.read_text()]
    numbers = [int(line.split()[-1]) for line in "".join(parts).splitlines() if "line" in line]
    assert numbers == list(range(numbers[0], 200))
    assert log.read_text().endswith("the end\n")


def test_somebody_elses_file_is_left_alone(tmp_path: Path) -> None:
    """Where a user has the output of a command written to a file, that file is theirs."""
    log = tmp_path / "mine"
    run(log, "other")
    assert os.listdir(tmp_path) == ["mine"]
    assert len(log.read_text().splitlines()) == 201


def test_a_new_file_that_cannot_be_made(tmp_path: Path) -> None:
    """The log goes on in the old one, and is put aside when there are descriptors again."""
    log = tmp_path / "agent.log"
    with log.open("ab") as output:
        subprocess.run([sys.executable, "-c", WITHOUT_DESCRIPTORS], stdout=output, stderr=output, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"agent.log", *(f"agent.log.{n}" for n in (1, 2, 3))}
    parts = [Path(f"{log}.{n}").read_text() for n in (3, 2, 1)] + [log.read_text()]
    assert [int(line.split()[1]) for line in "".join(parts).splitlines()][-15:] == list(range(65, 80))


def test_a_file_that_somebody_else_moved_is_left_alone(tmp_path: Path) -> None:
    """It is not put aside again under its new name."""
    log, moved = tmp_path / "agent.log", tmp_path / "moved"
    program = WITHOUT_DESCRIPTORS.replace(
        "    if n == 5:", f"    if n == 4: os.rename({str(log)!r}, {str(moved)!r})\n    if n < 0:"
    )
    with log.open("ab") as output:
        subprocess.run([sys.executable, "-c", program], stdout=output, stderr=output, check=True)
    assert os.listdir(tmp_path) == ["moved"]
    assert len(moved.read_text().splitlines()) == 80
