"""What node agents are told, and how one process brings forth the others."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sampan.cluster import agent_process, agents, processes
from sampan.cluster.processes import Process
from sampan.cluster.settings import Settings
from sampan.node import process

SHARED = """
import os, sys
from sampan.node import process
def run(arguments, on_servers=None):
    os.write(1, f"{os.getpid() == os.getsid(0)} {arguments}\\n".encode())  # at once: others write there too
    return 0 if "bad" not in arguments[1] else 1
process.main, process.load = run, lambda: None
from sampan.cluster import agent_process
sys.exit(agent_process.main(sys.argv[1:]))
"""


def config(cluster: Settings, number: int) -> dict[str, object]:
    found: dict[str, object] = json.loads(agents.write_config(cluster, number).read_bytes())
    return found


def test_a_node_alone_is_on_the_host(tmp_path: Path) -> None:
    """It finds the API at the usual place, and has no namespace."""
    told = config(Settings("a", tmp_path), 0)
    assert "lan" not in told
    assert (told["server"], told["api_address"]) == ("https://127.0.0.1:6443", "10.244.0.1")
    assert (told["internal_ip"], told["cgroup"], told["lease_seconds"]) == ("10.244.0.1", "sampan-a", 40)


def test_a_node_of_another_machine(tmp_path: Path) -> None:
    """It has no API server beside it."""
    told = config(Settings("a", tmp_path, joined_to="https://192.0.2.1:6443", joined_as="n", node_ip="127.0.0.1"), 0)
    assert (told["server"], told["api_address"]) == ("https://192.0.2.1:6443", "")


def test_nodes_of_several_are_each_in_a_namespace(tmp_path: Path) -> None:
    """They find the API at the host's address in their network, and each other by direct routes."""
    told = config(Settings("a", tmp_path, nodes=3, node_grace_seconds=4.0), 2)
    assert told["server"] == "https://10.160.0.1:6443"
    assert (told["internal_ip"], told["cgroup"], told["lease_seconds"]) == ("10.160.0.4", "sampan-a.2", 3)
    network = told["network"]
    assert isinstance(network, dict)
    assert (network["node_ip"], network["uplink"], network["overlay"]) == ("10.160.0.4", "eth0", "direct")
    assert network["run_dir"] == str(tmp_path / "node-sampan-a-3" / "network" / "run")
    lan = told["lan"]
    assert isinstance(lan, dict)
    assert (lan["link"], lan["address"], lan["gateway"]) == ("sampan0lan", "10.160.0.4", "10.160.0.1")
    assert lan["namespace"] == str(tmp_path / "run" / "netns" / "sampan-a-3")


def files(folder: Path, *names: str) -> list[str]:
    """Configurations whose keys are there, with a log and a pid file each but for the first."""
    found: list[str] = []
    for name in names:
        file = folder / f"{name}.json"
        file.write_text(json.dumps(dict.fromkeys(agent_process._FILES, __file__)))
        more = ["--also", str(file), str(folder / f"{name}.log"), str(folder / f"{name}.pid")]
        found += more if found else ["--config", str(file)]
    return found


@pytest.mark.slow
def test_one_process_brings_forth_the_others(tmp_path: Path) -> None:
    """Each has a session, a log and a pid file of its own."""
    command = [sys.executable, "-c", SHARED, *files(tmp_path, "a", "b", "c")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=True)
    assert done.stdout == f"True ['--config', '{tmp_path}/a.json']\n"
    for name in ("b", "c"):
        log = tmp_path / f"{name}.log"
        while not (log.exists() and log.read_text().endswith("\n")):
            time.sleep(0.01)
        assert log.read_text() == f"False ['--config', '{tmp_path}/{name}.json']\n"
        assert int((tmp_path / f"{name}.pid").read_text().split()[0]) > 0


def test_what_is_shared_is_there() -> None:
    """A module that was renamed would be loaded by each process for itself."""
    assert [name for name in process._LATER if name != "uvloop" and importlib.util.find_spec(name) is None] == []


@pytest.mark.slow
def test_through_sudo_the_first_goes_on_in_the_background(tmp_path: Path) -> None:
    """Its pid is told at once, as that of one alone is; the others' are in their files."""
    first = Process("node", tmp_path / "a.pid", tmp_path / "a.log")
    command = [sys.executable, "-c", SHARED, *files(tmp_path, "a", "b"), "--detach", str(first.log)]
    assert processes.start_detached(first, command)
    for name in ("a", "b"):
        log = tmp_path / f"{name}.log"
        while not (log.exists() and log.read_text().endswith("\n")):
            time.sleep(0.01)
        assert log.read_text().endswith(f"['--config', '{tmp_path}/{name}.json']\n")
    pid, other = ((tmp_path / f"{name}.pid").read_text().split()[0] for name in ("a", "b"))
    assert pid != other


@pytest.mark.slow
def test_nodes_are_taken_down_together(tmp_path: Path) -> None:
    """Those that are gone are named; one that fails stops no other."""
    command = [sys.executable, "-c", SHARED, *files(tmp_path, "a", "bad", "c"), "--teardown"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
    assert done.returncode == 1
    named = {line for line in done.stdout.splitlines() if line.endswith(".json")}
    assert named == {f"{tmp_path}/a.json", f"{tmp_path}/c.json"}
