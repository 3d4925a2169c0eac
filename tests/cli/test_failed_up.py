"""An `up` that fails: it says why and what to do, leaves nothing behind, and lets be what ran before."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sampan.cluster import processes, settings
from sampan.kit import files
from tests.cli.conftest import User
from tests.ports import free_port

pytestmark = pytest.mark.slow

CUSTOM = """
import os, signal, socket, sys
if "sampan.cluster.control_plane_process" in sys.orig_argv:
    {what}
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
TAKE = 'taken = socket.create_server(("127.0.0.1", {port}))'
FORK = """
import os, signal, sys, time
if "sampan.cluster.agent_process" in sys.orig_argv:
    def setsid():
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    os.setsid = setsid
"""
HANG = """
import sys, time
if any(word.startswith("sampan.cluster.") for word in sys.orig_argv):
    time.sleep(600)
"""


TAKE_ONCE = """
    import json
    from pathlib import Path
    place = Path(sys.orig_argv[sys.orig_argv.index("sampan.cluster.control_plane_process") + 1])
    port = json.loads((place / {settings!r}).read_text())["api_port"]
    if not (place / "taken").exists():
        (place / "taken").write_text(str(port))
        taken = socket.create_server(("127.0.0.1", port))
"""


def of(directory: Path) -> list[str]:
    """The command lines of all processes that have to do with the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in line:
            found.append(line)
    return found


def test_a_port_that_somebody_takes_meanwhile(user: User) -> None:
    """Where nobody asked for it, the cluster starts with the next one, which everybody is told of."""
    customs = user.home / "customs"
    customs.mkdir()
    (customs / "sitecustomize.py").write_text(
        CUSTOM.format(what=TAKE_ONCE.format(settings=settings.CLUSTER_FILE).strip())
    )
    command = ["sampan", "up", "--runtime", "simulated", "--name", "tide"]
    said = user.run("env", f"PYTHONPATH={customs}", *command).stdout
    was = (user.clusters / "tide" / "taken").read_text()
    assert f"port {was} is taken: the API moves to port " in said
    (now,) = re.findall("API server at https://127.0.0.1:([0-9]+)", said)
    assert int(now) > int(was)
    assert user.kubectl("get nodes -o name") == "node/sampan-tide\n"


def test_a_port_that_somebody_takes_of_a_cluster_that_was_there(user: User) -> None:
    """Everything of it was killed, and its node's configuration is left: it starts with the next port all the same."""
    user.sampan(f"up --runtime simulated --name tide --api-port {free_port()}")
    for name in ("control-plane", "node-sampan-tide"):
        pid = user.pid("tide", name)
        os.kill(pid, signal.SIGKILL)
        assert processes.wait_gone(pid, 60)
    customs = user.home / "customs"
    customs.mkdir()
    (customs / "sitecustomize.py").write_text(
        CUSTOM.format(what=TAKE_ONCE.format(settings=settings.CLUSTER_FILE).strip())
    )
    said = user.run("env", f"PYTHONPATH={customs}", "sampan", "up", "--name", "tide").stdout
    was = (user.clusters / "tide" / "taken").read_text()
    assert f"port {was} is taken: the API moves to port " in said
    assert user.kubectl("get nodes -o name") == "node/sampan-tide\n"


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (KILL, "control-plane was killed by SIGKILL, as the kernel does where memory runs out (see dmesg)"),
        (TAKE, "port {port} on 127.0.0.1 is taken by another process; choose another with --api-port"),
    ],
)
def test_a_control_plane_that_ends_at_once(user: User, what: str, said: str) -> None:
    """Its nodes end with it. Once what was in the way is mended, the cluster starts as if nothing had been."""
    port, customs = free_port(), user.home / "customs"
    customs.mkdir()
    (customs / "sitecustomize.py").write_text(CUSTOM.format(what=what.format(port=port)))
    command = ["sampan", "up", "--runtime", "simulated", "--name", "tide", "--nodes", "2", "--api-port", str(port)]
    refused = user.run("env", f"PYTHONPATH={customs}", *command, code=1).stderr
    assert said.format(port=port) in refused
    assert refused.count("\n") == 1
    assert of(user.clusters / "tide") == []
    assert not (user.clusters / "tide" / "run").exists()
    assert user.sampan("ls").count("stopped") == 1
    assert "sampan-tide" not in user.kubeconfig.read_text()
    user.run(*command)
    assert user.kubectl("get nodes -o name") == "node/sampan-tide\nnode/sampan-tide-2\n"


def test_what_ran_before_goes_on(user: User) -> None:
    """Here the nodes, which an `up` finds without their control plane: it can't be had again as long as its store is damaged."""
    port = free_port()
    user.sampan(f"up --runtime simulated --name tide --api-port {port}")
    place, agent = user.clusters / "tide", user.pid("tide", "node-sampan-tide")
    plane = user.pid("tide")
    os.kill(plane, signal.SIGKILL)
    assert processes.wait_gone(plane, 60)
    kept = {path: path.read_bytes() for path in place.glob("state.db*")}
    settings = (place / "cluster.json").read_bytes()
    for path in kept:
        path.unlink()
    (place / "state.db").write_bytes(b"no database" * 1000)
    refused = user.fails(f"up --name tide --node-monitor-grace-period 50s --api-port {port}")
    assert "state.db: the file is damaged" in refused
    assert "sampan snapshot list" in refused
    (line,) = of(place)
    assert "agent_process" in line
    assert user.pid("tide", "node-sampan-tide") == agent
    assert (place / "cluster.json").read_bytes() == settings
    for path in place.glob("state.db*"):
        path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)
    user.sampan("up --name tide")
    assert user.pid("tide", "node-sampan-tide") == agent


@pytest.mark.parametrize("lost", ["*.pid", "*"])
def test_a_running_cluster_of_which_no_note_is_left_goes_on(user: User, lost: str) -> None:
    """Another `up` finds its store in use. It ends what it began itself, and says what goes on."""
    user.sampan(f"up --runtime simulated --name tide --nodes 2 --api-port {free_port()}")
    place = user.clusters / "tide"
    ran = [user.pid("tide", name) for name in ("control-plane", "node-sampan-tide", "node-sampan-tide-2")]
    began = [processes.start_time(pid) for pid in ran]
    for path in (place / "run").glob(lost):
        path.unlink()
    if lost == "*":
        (place / "run").rmdir()
    try:
        refused = user.fails("up --name tide --runtime simulated")
        assert "in use by another process" in refused
        assert f"goes on: {', '.join(map(str, sorted(ran)))}" in refused
        assert [processes.start_time(pid) for pid in ran] == began
        assert user.kubectl("get nodes -o name") == "node/sampan-tide\nnode/sampan-tide-2\n"
        assert len(of(place)) == len(ran)
    finally:
        for pid in ran:
            processes.end(pid, 60)


def test_agents_that_are_just_being_brought_forth(user: User) -> None:
    """They end with the one that brings them forth, though they are not noted yet; the first node goes on."""
    user.sampan(f"up --runtime simulated --name tide --nodes 3 --api-port {free_port()}")
    place, customs = user.clusters / "tide", user.home / "customs"
    for name in ("node-sampan-tide-2", "node-sampan-tide-3"):
        pid = user.pid("tide", name)
        os.kill(pid, signal.SIGKILL)
        assert processes.wait_gone(pid, 60)
    ran = [user.pid("tide"), user.pid("tide", "node-sampan-tide")]
    customs.mkdir()
    (customs / "sitecustomize.py").write_text(FORK)
    refused = user.run("env", f"PYTHONPATH={customs}", "sampan", "up", "--name", "tide", code=1).stderr
    assert "node-sampan-tide-2 was killed by SIGKILL" in refused
    assert len(of(place)) == len(ran)
    assert [user.pid("tide"), user.pid("tide", "node-sampan-tide")] == ran
    assert all(map(processes.start_time, ran))
    user.sampan("up --name tide")
    assert user.kubectl("get nodes -o name").count("node/") == 3


def test_down_meanwhile(user: User) -> None:
    """It alone takes down what the `up` has begun."""
    place, customs = user.clusters / "tide", user.home / "customs"
    customs.mkdir()
    (customs / "sitecustomize.py").write_text(HANG)
    command = ["sampan", "up", "--runtime", "simulated", "--name", "tide", "--api-port", str(free_port())]
    environment = {**user.environment, "PYTHONPATH": str(customs)}
    began = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while not (place / "run" / "node-sampan-tide.pid").exists():
            assert began.poll() is None
            time.sleep(0.01)
        user.sampan("down --name tide --purge")
        _, refused = began.communicate(timeout=60)
    finally:
        began.kill()
        began.wait()
    assert began.returncode == 1
    assert "another command stops the cluster: nothing is taken back" in refused
    assert refused.count("\n") == 1
    assert of(place) == []
    assert not place.exists()


def test_one_that_somebody_stops_meanwhile(tmp_path: Path) -> None:
    """Only one of the two takes it down: whoever stops is alone in the folder, or has removed it."""
    folder = tmp_path / "run"
    folder.mkdir()
    room = files.Room(folder)
    with files.alone(folder):
        assert not room.take()
    assert room.take()
    room.leave()
    room = files.Room(folder)
    folder.rmdir()
    assert not room.take()
    folder.mkdir()
    assert not room.take()
    room.leave()
