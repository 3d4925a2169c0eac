"""A cluster and code that was not made for it: its port, its kubeconfig, its time as everybody's."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sampan.client.transport import TransportError
from sampan.testing import Cluster, report, setups, virtual_time  # noqa: F401 (a run inside shares what is loaded)
from sampan.web.message import Request, Response
from tests.testing import plugged
from tests.testing.bridged import DEPLOYMENT

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Kubernetes version:UserWarning")]

HOUR = 3600
CONFIG_MAP: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"k": "v"}}


@pytest.fixture
def plain() -> Iterator[Cluster]:
    with Cluster() as made:
        yield made


def kubectl(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "kubectl"), "--kubeconfig", str(cluster.kubeconfig), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_kubectl(plain: Cluster) -> None:
    """A program outside finds the cluster by its kubeconfig, and time follows the real one while it waits."""
    plain.apply(DEPLOYMENT | {"spec": DEPLOYMENT["spec"] | {"minReadySeconds": 1}})
    done = kubectl(plain, "rollout", "status", "deployment/web", "--timeout=60s")
    assert "successfully rolled out" in done.stdout, done.stderr
    assert kubectl(plain, "create", "configmap", "made").returncode == 0
    assert plain.get("cm/made")


def bridges() -> int:
    """How many serve."""
    return sum(thread.name == "sampan bridge" for thread in threading.enumerate())


def test_nothing_is_there_before_it_is_asked_for(plain: Cluster) -> None:
    """One port and one file for each cluster; a fork has its own; both are gone with the cluster."""
    assert bridges() == 0
    first, directory = plain.kubeconfig, plain.kubeconfig.parent
    assert first == plain.kubeconfig
    assert plain.url in first.read_text()
    assert bridges() == 1
    with plain.fork() as fork:
        assert bridges() == 1
        fork.create(CONFIG_MAP)
        assert fork.url != plain.url
        assert "one" in kubectl(fork, "get", "cm").stdout
        assert "one" not in kubectl(plain, "get", "cm").stdout
    assert bridges() == 1
    plain.close()
    assert bridges() == 0
    assert not directory.exists()
    with pytest.raises(RuntimeError, match="the cluster is closed"):
        _ = plain.kubeconfig


def test_a_condition_may_ask_over_the_port(plain: Cluster) -> None:
    """In real time too: the server answers while the test's thread waits for a condition."""
    from kubernetes import client, config

    with config.new_client_from_config(str(plain.kubeconfig)) as api:
        apps = client.AppsV1Api(api)
        plain.apply(DEPLOYMENT)
        plain.run_until(lambda: apps.read_namespaced_deployment("web", "default").status.available_replicas, within=60)
        with pytest.raises(TimeoutError, match="still not so after 5 virtual seconds"):
            plain.run_until(lambda: apps.read_namespaced_deployment("web", "default") is None, within=5)


def test_time_is_everybodys(plain: Cluster) -> None:
    """`advance`, `run_until` and `wait_for` let time pass for other threads; outside of it nothing is changed."""

    def work() -> None:
        for hour in range(3):
            time.sleep(HOUR)
            plain.create({**CONFIG_MAP, "metadata": {"name": f"hour-{hour}"}})

    with plain.virtual_time():
        threading.Thread(target=work).start()
        plain.advance(hours=1, minutes=1)
        assert len(plain.list("cm", "default", fields="metadata.name=hour-0")) == 1
        assert plain.wait_for("cm/hour-1", within=HOUR)
        plain.run_until(lambda: plain.get("cm/hour-2"), within=HOUR)
        assert plain.time == pytest.approx(3 * HOUR, abs=1)
        assert datetime.now(UTC) == plain.now
        with pytest.raises(TimeoutError, match="still not so after 60 virtual seconds"):
            plain.run_until(lambda: False)
        with pytest.raises(TimeoutError, match="is not exists after 9 virtual seconds"):
            plain.wait_for("cm/hour-3", within=9)
    assert datetime.now(UTC) != plain.now


def test_misuse(plain: Cluster) -> None:
    """One virtual time in a process, and one thread that lets it pass."""
    errors: list[RuntimeError] = []

    def meddle() -> None:
        try:
            plain.advance(1)
        except RuntimeError as error:
            errors.append(error)

    with plain.virtual_time():
        with pytest.raises(RuntimeError, match="only one cluster"), plain.virtual_time():
            pass
        with plain.fork() as fork, pytest.raises(RuntimeError, match="only one cluster"), fork.virtual_time():
            pass
        thread = threading.Thread(target=meddle)
        thread.start()
        thread.join()
    assert "only the thread that made it so (MainThread)" in str(errors)


def test_faults_meet_foreign_clients(plain: Cluster) -> None:
    """What interceptors do to requests they do to those of the port, whose user they are told."""
    seen: list[str] = []

    async def once(request: Request, user: str, send: Any) -> Response:
        seen.append(user)
        if len(seen) == 1:
            raise TransportError("connection reset by peer")
        answer: Response = await send(request)
        return answer

    path = plain.kubeconfig
    plain.sim.doors.interceptors.append(once)
    done = kubectl(plain, "get", "--raw", "/version")
    assert path.exists()
    assert done.returncode == 1
    assert seen == ["kubernetes-admin"]
    assert "EOF" in done.stderr or "reset" in done.stderr
    assert kubectl(plain, "get", "--raw", "/version").returncode == 0


COROUTINE = """
import asyncio
import pytest
from kubernetes_asyncio import client, config

@pytest.mark.cluster(virtual_time=True)
@pytest.mark.asyncio
async def test_a_day(cluster):
    settings = client.Configuration()
    await config.load_kube_config(str(cluster.kubeconfig), client_configuration=settings)
    async with client.ApiClient(settings) as api:
        core = client.CoreV1Api(api)
        await core.create_namespaced_config_map("default", {"metadata": {"name": "one"}})
        await asyncio.sleep(86400)
        assert cluster.time == pytest.approx(86400, abs=1)
        assert (await core.read_namespaced_config_map("one", "default")).metadata.creation_timestamp.day == 1
        assert cluster.now.day == 2
"""


def test_a_coroutine(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test of pytest-asyncio's with kubernetes-asyncio: its event loop is in virtual time too."""
    for name, given in plugged.ENVIRONMENT.items():
        monkeypatch.setenv(name, given)
    pytester.makepyfile(COROUTINE)
    pytester.runpytest_inprocess(*plugged.ARGUMENTS, *plugged.ASYNCIO).assert_outcomes(passed=1)
