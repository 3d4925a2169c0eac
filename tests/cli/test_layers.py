"""A layer beside a cluster of which it is a plain client, and the commands that say what is enabled."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import User
from tests.ports import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TOYS = "from sampan.cluster import layers; layers.MODULES['toys'] = 'tests.platform.toys'"
MAIN = "import sys; from sampan.cli import main; sys.exit(main.run(sys.argv[1:]))"
DUCK = "apiVersion: example.com/v1\nkind: Toy\nmetadata: {name: duck}\nspec: {colour: %s}\n"


@contextmanager
def toys(user: User, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`sampan run toys`, as soon as it works."""
    command = [sys.executable, "-c", f"{TOYS}; {MAIN}", "run", "toys", *words]
    process = subprocess.Popen(command, env=user.environment, cwd=ROOT, text=True, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            if "the cluster asks at https://" in line:
                break
        else:
            pytest.fail("".join(seen))
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_a_layer_beside_a_cluster(user: User) -> None:
    """Its definition, its controller and, by a webhook, its rules; which are gone when it ends."""
    user.sampan(f"up --runtime simulated --name tide --api-port {free_port()}")
    black, duck = user.home / "black.yaml", user.home / "duck.yaml"
    black.write_text(DUCK % "black")
    duck.write_text(DUCK % "yellow")
    with toys(user, "--webhook-address", f"127.0.0.1:{free_port()}") as process:
        assert "duck is too dark, said 1 times" in user.run("kubectl", "create", "-f", str(black), code=1).stderr
        assert "duck is too dark, said 2 times" in user.run("kubectl", "create", "-f", str(black), code=1).stderr
        user.kubectl(f"create -f {duck}")
        user.kubectl("wait toy/duck --for=jsonpath={.status.price} --timeout=60s")
        assert user.kubectl("get lease -n kube-system sampan-layer-toys -o name")
    assert process.returncode == 0
    assert "sampan-toys" not in user.kubectl("get validatingwebhookconfigurations -o name")
    user.kubectl(f"apply -f {black}")


def test_what_is_enabled(user: User) -> None:
    """The table says so, before and after; what there is none of is refused by name."""
    user.sampan(f"up --runtime simulated --name tide --api-port {free_port()}")
    assert "rollouts" in user.sampan("layers --name tide")
    assert "there is no layer 'rolouts'; there are: " in user.fails("enable rolouts --name tide")
    assert "rollouts is enabled in tide" in user.sampan("enable rollouts --name tide")
    assert rows(user)["rollouts"] == "yes ready"
    user.kubectl("wait crd/rollouts.argoproj.io --for=create --timeout=60s")
    user.kubectl("wait crd/rollouts.argoproj.io --for=condition=Established --timeout=60s")
    assert "has rollouts enabled, and works for it itself" in user.fails("run rollouts")
    assert "rollouts is disabled in tide" in user.sampan("disable rollouts --name tide")
    assert rows(user)["rollouts"] == "no -"
    user.sampan("down --name tide")
    assert rows(user)["rollouts"] == "- -"


def rows(user: User) -> dict[str, str]:
    lines = user.sampan("layers --name tide").splitlines()[1:]
    return {line.split()[0]: " ".join(line.split()[1:3]) for line in lines}
