"""`sampan snapshot` as a user has it, with a simulated cluster."""

import json
import shutil

import pytest

from tests.cli.conftest import User
from tests.ports import free_port

pytestmark = pytest.mark.slow


def test_a_cluster_is_saved_while_it_runs_and_restored(user: User) -> None:
    """What was saved is there again, what came later is not, and whoever goes on from before is told with 410."""
    assert "there is no cluster in" in user.fails("snapshot save --name tide")
    user.sampan(f"up --runtime simulated --name tide --api-port {free_port()}")
    user.kubectl("create configmap before")
    out = user.sampan("snapshot save --name tide")
    assert "is saved in" in out
    name = user.sampan("snapshot list --name tide").splitlines()[1].split()[0]
    user.kubectl("create configmap after")
    served = json.loads(user.kubectl("get configmap after -o json"))["metadata"]["resourceVersion"]
    assert "stop it first: sampan down --name tide" in user.fails(f"snapshot --name tide restore {name}")
    user.sampan("down --name tide")
    assert "goes on from revision 10000" in user.sampan(f"snapshot restore {name} --name tide")
    user.sampan("up --name tide")
    found = user.kubectl("get configmaps -o name")
    assert "configmap/before" in found
    assert "configmap/after" not in found
    told = user.kubectl(f"get --raw /api/v1/configmaps?watch=1&resourceVersion={served}&timeoutSeconds=5")
    assert "too old resource version" in json.loads(told)["object"]["message"]
    user.kubectl("create deployment web --image=nginx")
    user.kubectl("wait deployment web --for=condition=Available --timeout=60s")
    user.sampan("snapshot save --name tide " + str(user.home / "x.snapshot"))
    user.sampan("down --name tide --purge")
    assert "cluster tide is restored in" in user.sampan("snapshot restore " + str(user.home / "x.snapshot"))
    user.sampan("up --name tide")
    user.kubectl("wait deployment web --for=condition=Available --timeout=60s")


def test_an_older_file_is_refused_and_then_gone_on_with(user: User) -> None:
    """One line says what is wrong and which command goes on; that command does."""
    user.sampan(f"up --runtime simulated --name tide --api-port {free_port()}")
    user.sampan("down --name tide")
    state = user.clusters / "tide" / "state.db"
    shutil.copy(state, user.home / "old.db")
    user.sampan("up --name tide")
    user.kubectl("create configmap later")
    user.sampan("down --name tide")
    shutil.copy(user.home / "old.db", state)
    refused = user.fails("up --name tide")
    assert "is older than what this cluster has acknowledged" in refused
    assert "Traceback" not in (user.clusters / "tide" / "logs" / "control-plane.log").read_text()
    user.sampan("down --name tide")
    user.sampan(f"snapshot restore --name tide {state}")
    user.sampan("up --name tide")
    assert "later" not in user.kubectl("get configmaps")
