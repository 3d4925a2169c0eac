"""The outputs in docs/guide/simulation.md: `python tests/sim/guide.py` runs its commands and writes them anew."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide" / "simulation.md"
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLOCKED = re.compile(r"\(\d+\.\d+ s\)|[\d.]+ seeds a second")


def filled(text: str, place: Path) -> str:
    """The text with what its commands print in the folder `place`; the only thing that differs is how long they took."""
    shutil.copytree(ROOT / "examples", place / "examples")
    return CONSOLE.sub(lambda block: _run(block[1], place), text)


def timeless(text: str) -> str:
    """Without real times."""
    return CLOCKED.sub("...", text)


def _run(block: str, place: Path) -> str:
    lines = [line for line in block.splitlines() if line.startswith("$ ")]
    shown = "".join(f"{line}\n{_output(line.removeprefix('$ '), place)}" for line in lines)
    return f"```console\n{shown}```"


def _output(command: str, place: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.stdout.decode()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        GUIDE.write_text(filled(GUIDE.read_text(), Path(folder)))
