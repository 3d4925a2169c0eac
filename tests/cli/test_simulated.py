"""A simulated cluster through the whole command line, as an ordinary user has it: real processes, real kubectl."""

import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import EARLIER, User
from tests.ports import free_port

pytestmark = pytest.mark.slow


def up(user: User, name: str = "tide", more: str = "") -> str:
    return user.sampan(f"up --runtime simulated --name {name} --api-port {free_port()} {more}")


def current(user: User) -> str:
    return str(yaml.safe_load(user.kubeconfig.read_text())["current-context"])


def test_a_life(user: User) -> None:
    """From up to purge: each command says what is, and nothing is left."""
    out = up(user)
    assert "node sampan-tide is Ready" in out
    assert "cluster tide is ready with simulated nodes: containers are only pretended" in out
    assert current(user) == "sampan-tide"
    (user.clusters / "tide" / "kubeconfig").unlink()
    user.kubeconfig.write_text(EARLIER)
    assert "cluster tide is already running" in user.sampan("up --name tide")
    assert (user.clusters / "tide" / "kubeconfig").exists()
    assert current(user) == "sampan-tide"
    assert "running" in user.sampan("ls")
    status = user.sampan("status --name tide")
    assert "node sampan-tide         Ready" in status
    assert status.count("running   pid") == 2
    assert "==> control-plane <==" in user.sampan("logs --name tide")
    assert "no process x; there are: control-plane, node-sampan-tide" in user.fails("logs --name tide x")
    assert "simulated://" in user.kubectl("get nodes -o wide")
    user.kubectl("create deployment web --image=nginx --replicas=3")
    user.kubectl("wait deployment web --for=condition=Available --timeout=60s")
    assert "3 Running" in user.sampan("status --name tide")
    user.sampan("down --name tide")
    assert current(user) == "work"
    assert "stopped" in user.sampan("ls")
    assert user.run("sampan", "status", "--name", "tide", code=1).stdout.count("stopped") == 2
    user.sampan("up --name tide")
    assert "web" in user.kubectl("get deployments")
    user.sampan("down --name tide --purge")
    assert yaml.safe_load(user.kubeconfig.read_text())["contexts"] == [
        {"name": "work", "context": {"cluster": "work", "user": "work"}}
    ]
    assert not user.clusters.exists()
    assert "no clusters" in user.sampan("ls")


def test_fewer_nodes(user: User) -> None:
    """Those that are no more wanted are deleted with their pods, and only once."""
    assert "node sampan-tide-3 is Ready" in up(user, more="--nodes 3")
    user.kubectl("create deployment web --image=nginx --replicas=6")
    user.kubectl("wait deployment web --for=condition=Available --timeout=60s")
    user.sampan("down --name tide")
    out = user.sampan("up --name tide --nodes 1")
    assert [line.split()[1] for line in out.splitlines() if "is no more" in line] == ["sampan-tide-2", "sampan-tide-3"]
    user.kubectl("wait deployment web --for=condition=Available --timeout=60s")
    assert set(user.kubectl("get pods -o jsonpath={.items[*].spec.nodeName}").split()) == {"sampan-tide"}
    user.sampan("down --name tide")
    assert "is no more" not in user.sampan("up --name tide")
    assert user.kubectl("get nodes -o name") == "node/sampan-tide\n"


def test_what_simulated_nodes_do_not_have(user: User) -> None:
    """Images, exec and logs are refused by name."""
    up(user)
    for place in (
        "image --name tide list",
        "image list --name tide",
        "image --name tide rm x",
        "image pull x --name tide",
    ):
        assert "has simulated nodes" in user.fails(place)
    user.kubectl("run web --image=nginx")
    user.kubectl("wait pod web --for=condition=Ready --timeout=60s")
    for line in ("exec web -- date", "logs web"):
        error = user.run("kubectl", *line.split(), code=1).stderr
        assert "simulated" in error, error


def test_ports(user: User) -> None:
    """One that was asked for is an error when taken; the default moves and says so."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        error = user.fails(f"up --runtime simulated --name tide --api-port {port}")
        assert f"port {port} on 127.0.0.1 is taken" in error
        assert not (user.clusters / "tide").exists()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", 6443))
            listener.listen()
        except OSError:
            pass  # somebody else has it: as good
        assert "port 6443 is taken: the API moves to port" in user.sampan("up --runtime simulated --name tide")
    assert "tide" in user.kubectl("get nodes")


def test_a_killed_control_plane_goes_on(user: User) -> None:
    """With all data; and so does a cluster of which everything was killed, as by a reboot."""
    up(user)
    user.kubectl("create configmap kept --from-literal=a=b")
    os.kill(user.pid("tide"), signal.SIGKILL)
    assert "node-sampan-tide         running" in user.run("sampan", "status", "--name", "tide", code=1).stdout
    user.sampan("up --name tide")
    assert user.kubectl("get configmap kept -o jsonpath={.data.a}") == "b"
    for process in ("control-plane", "node-sampan-tide"):
        os.kill(user.pid("tide", process), signal.SIGKILL)
    user.sampan("up --name tide")
    assert user.kubectl("get configmap kept -o jsonpath={.data.a}") == "b"
    for process in ("control-plane", "node-sampan-tide"):
        os.kill(user.pid("tide", process), signal.SIGKILL)
    user.sampan("down --name tide")
    assert not (user.clusters / "tide" / "run").exists()
    assert current(user) == "work"


def test_two_side_by_side(user: User) -> None:
    """Each with its own context, addresses and objects; whichever goes first, the earlier context comes back."""
    up(user, "ebb")
    up(user, "flood", "--nodes 2")
    assert current(user) == "sampan-flood"
    user.kubectl("--context sampan-ebb create configmap only-here")
    assert "only-here" not in user.kubectl("get configmaps")
    assert user.kubectl("get nodes -o name") == "node/sampan-flood\nnode/sampan-flood-2\n"
    addresses = {
        user.kubectl(f"--context sampan-{name} get service kubernetes -o jsonpath={{.spec.clusterIP}}")
        for name in ("ebb", "flood")
    }
    assert len(addresses) == 2
    assert "a cluster named ebb already runs in" in user.fails(
        f"up --runtime simulated --name ebb --data-dir {user.home / 'third'}"
    )
    user.sampan("down --name ebb --purge")
    assert current(user) == "sampan-flood"
    user.sampan("down --name flood --purge")
    assert current(user) == "work"


def test_no_node_no_switch_and_files(user: User, tmp_path: Path) -> None:
    """A control plane alone in a directory of choice; what is written is private."""
    directory, config = tmp_path / "there" / "data", tmp_path / "other" / "config"
    before = user.kubeconfig.read_text()
    where = f"--name tide --data-dir {directory}"
    port = f"--api-port {free_port('0.0.0.0')}"
    user.sampan(f"up {where} {port} --no-node --no-switch --store memory --listen 0.0.0.0 --kubeconfig {config}")
    assert user.kubeconfig.read_text() == before
    for path in (config, directory / "kubeconfig", *(directory / "pki").glob("*.key")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert not (directory / "state.db").exists()
    assert user.kubectl(f"--kubeconfig {directory / 'kubeconfig'} get --raw /readyz") == "ok"
    assert user.kubectl(f"--kubeconfig {config} get nodes") == ""
    assert "tide" in user.sampan("ls")
    user.sampan(f"up {where} --kubeconfig {user.kubeconfig} --no-switch")
    assert not config.exists()
    assert current(user) == "work"
    user.sampan("down --name tide --purge")
    assert not directory.exists()
    assert yaml.safe_load(user.kubeconfig.read_text()) == yaml.safe_load(before)


GATE = """
import os, sys, time
while "sampan.cluster.control_plane_process" in sys.orig_argv and not os.path.exists({gate!r}):
    time.sleep(0.01)
"""


def test_an_interrupted_up_can_be_taken_up(user: User) -> None:
    """Ctrl-C leaves what a later `up` or `down` understands. Here the control plane does not begin until then."""
    gate, customs = user.home / "gate", user.home / "customs"
    customs.mkdir()
    (customs / "sitecustomize.py").write_text(GATE.format(gate=str(gate)))
    environment = {**user.environment, "PYTHONPATH": str(customs)}
    command = ["sampan", "up", "--runtime", "simulated", "--name", "tide", "--api-port", str(free_port())]
    started = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    pid_file = user.clusters / "tide" / "run" / "node-sampan-tide.pid"
    while not pid_file.exists():
        time.sleep(0.005)
    started.send_signal(signal.SIGINT)
    error = started.communicate(timeout=60)[1]
    gate.touch()
    assert started.returncode == 1
    assert error.startswith("sampan up: interrupted; ")
    assert error.count("\n") == 1
    user.sampan("up --name tide")
    assert "Ready" in user.kubectl("get nodes")


def test_a_directory_that_may_not_be_written(user: User) -> None:
    """What, why and how to mend it."""
    error = user.fails("up --runtime simulated --data-dir /sys/kernel/x")  # not even root may
    assert "; mend its permissions, or choose another place" in error


def test_a_place_where_nothing_can_be(user: User) -> None:
    """Also what only the system refuses is one line."""
    assert "/dev/null/x" in user.fails("up --runtime simulated --data-dir /dev/null/x")
