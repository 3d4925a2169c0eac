"""Everything that waits does so in virtual time: back-offs, leases, tokens, and what goes when its time is over."""

import base64
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.certificates.certificate_signing_request import CERTIFICATESIGNINGREQUEST
from sampan.kinds.coordination.lease import LEASE
from sampan.kinds.core.event import EVENT
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.core.secret import SECRET
from sampan.kit.simloop import START
from sampan.meta import conditions, objects, timestamps
from sampan.node import simulated
from tests.requests import request
from tests.sim import trees
from tests.sim.trees import Tree

MINUTE = 60
HOUR = 60 * MINUTE
ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default/token"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(seed=1) as made:
        yield made


# Pods


def crashing(**orders: str) -> Tree:
    """A pod whose container ends badly after a second, again and again."""
    made = trees.template(**{"run_seconds": "1", "exit_code": "1"} | orders)
    return trees.tree("v1", "Pod", "p", spec=made["spec"] | {"restartPolicy": "Always"}) | {
        "metadata": {"name": "p", "namespace": "default", "annotations": made["metadata"]["annotations"]}
    }


def starts(cluster: SimulatedCluster) -> list[float]:
    """When the pod's container was started, each time."""
    found: dict[str, float] = {}
    for change in cluster.history:
        if change.resource == "pods":
            for status in (change.tree.get("status") or {}).get("containerStatuses") or ():
                running = (status.get("state") or {}).get("running")
                if running:
                    found.setdefault(status["containerID"], change.time)
    return list(found.values())


def test_a_crashing_container_is_started_later_and_later(cluster: SimulatedCluster) -> None:
    """10, 20, 40, 80, 160 seconds after its end, then every five minutes."""
    cluster.create(crashing())
    cluster.advance(22 * MINUTE)
    times = starts(cluster)
    waits = [round(later - earlier - 1) for earlier, later in pairwise(times)]
    assert waits[0] <= 1, "the first restart comes at once"
    assert waits[1:] == [10, 20, 40, 80, 160, 300, 300, 300]
    waiting = (cluster.get(POD, "p", "default") or {})["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting["reason"] == "CrashLoopBackOff"
    assert waiting["message"].startswith("back-off 5m0s restarting failed container=main pod=p_default(")


def test_an_image_that_is_missing_is_asked_for_later_and_later(
    cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same back-off; when it is there at last, the pod starts within seconds."""
    monkeypatch.setattr(simulated.SimulatedImages, "resolve", lambda images, ref: None)
    cluster.create(trees.pod("p"))
    cluster.advance(18 * MINUTE)
    failures: list[float] = []
    last = ""
    for change in cluster.history:
        if change.resource == "pods" and (change.tree.get("status") or {}).get("containerStatuses"):
            reason = change.tree["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
            if reason == "ErrImagePull" and reason != last:
                failures.append(change.time)
            last = reason
    waits = [later - earlier for earlier, later in pairwise(failures)]
    assert [round(wait) for wait in waits] == [10, 20, 40, 80, 160, 300, 300]
    monkeypatch.undo()
    cluster.advance(5)
    assert (cluster.get(POD, "p", "default") or {})["status"]["phase"] == "Running"


def test_a_pod_ends_at_its_deadline(cluster: SimulatedCluster) -> None:
    """activeDeadlineSeconds after its start."""
    cluster.create(trees.pod("p", activeDeadlineSeconds=HOUR))
    cluster.advance(HOUR - 5)
    assert (cluster.get(POD, "p", "default") or {})["status"]["phase"] == "Running"
    cluster.advance(10)
    ended = (cluster.get(POD, "p", "default") or {})["status"]
    assert (ended["phase"], ended["reason"]) == ("Failed", "DeadlineExceeded")


# Nodes


def test_a_lease_is_young_whenever_something_looks(cluster: SimulatedCluster) -> None:
    """Though renewals are left out while nothing happens, no step ends with a lease that has run out."""
    for seconds in (1, 100, 10, HOUR, 45, 6 * HOUR, 0.5):
        cluster.advance(seconds)
        spec = (cluster.get(LEASE, "sampan", "kube-node-lease") or {})["spec"]
        assert START + cluster.time - timestamps.parse(spec["renewTime"]) <= spec["leaseDurationSeconds"]
    assert not trees.events(cluster, "NodeNotReady")


def test_a_silent_node_is_noticed_after_its_grace(cluster: SimulatedCluster) -> None:
    """50 seconds after its last sign of life, however long nothing happened before."""
    cluster.advance(3 * HOUR)
    cluster.stop_node("sampan")
    before = cluster.time
    cluster.run_until(lambda: conditions.status_of(cluster.get(NODE, "sampan") or {}, "Ready") == "Unknown", within=100)
    assert 40 <= cluster.time - before <= 55


# Tokens


def review(cluster: SimulatedCluster, token: str) -> Tree:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    answer: Tree = cluster.run(cluster.client.call("POST", REVIEWS, body=body))
    return answer["status"]


def test_a_token_is_good_until_it_expires(cluster: SimulatedCluster) -> None:
    """To the second, and its answer says when."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
    made: Tree = cluster.run(cluster.client.call("POST", ACCOUNT, body=body))
    ends = timestamps.parse(made["status"]["expirationTimestamp"]) - START
    assert 7198 <= ends - cluster.time <= 7201
    cluster.advance(ends - cluster.time - 2)
    assert review(cluster, made["status"]["token"])["authenticated"]
    cluster.advance(3)
    told = review(cluster, made["status"]["token"])
    assert not told.get("authenticated")
    assert "token has expired" in told["error"]


def test_a_bootstrap_token_goes_when_it_expires(cluster: SimulatedCluster) -> None:
    """The cleaner deletes its Secret then."""
    ends = timestamps.format(START + 3 * HOUR)
    data = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "expiration": ends}
    secret = trees.tree("v1", "Secret", "bootstrap-token-abcdef", "kube-system", type="bootstrap.kubernetes.io/token")
    cluster.create(secret | {"data": {name: base64.b64encode(text.encode()).decode() for name, text in data.items()}})
    cluster.advance(3 * HOUR - cluster.time - 5)
    assert cluster.get(SECRET, "bootstrap-token-abcdef", "kube-system") is not None
    cluster.advance(10)
    assert cluster.get(SECRET, "bootstrap-token-abcdef", "kube-system") is None


# What expires


def test_events_go_after_an_hour(cluster: SimulatedCluster) -> None:
    """One that is told again stays an hour longer."""
    for name in ("once", "again"):
        involved = {"kind": "Pod", "namespace": "default", "name": "p"}
        cluster.create(trees.tree("v1", "Event", name, involvedObject=involved, reason="R", message="m", type="Normal"))
    cluster.advance(40 * MINUTE)
    cluster.patch(EVENT, "again", "default", {"count": 2})
    cluster.advance(19 * MINUTE)
    assert {"once", "again"} <= set(trees.by_name(cluster.list(EVENT)))
    cluster.advance(3 * MINUTE)
    assert {"once", "again"} & set(trees.by_name(cluster.list(EVENT))) == {"again"}
    cluster.advance(40 * MINUTE)
    assert not {"once", "again"} & set(trees.by_name(cluster.list(EVENT)))


@pytest.mark.slow
def test_certificate_requests_go_when_nobody_needs_them_any_more(cluster: SimulatedCluster) -> None:
    """An hour after a denial, a day after nobody cared."""
    spec: dict[str, Any] = {
        "request": request("someone", ()),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
    }
    for name in ("denied", "pending"):
        made = trees.tree("certificates.k8s.io/v1", "CertificateSigningRequest", name, "", spec=spec)
        created = cluster.create(made)
        if name == "denied":
            condition = {"type": "Denied", "status": "True", "reason": "No", "message": "no"}
            denied = {**made, "metadata": created["metadata"], "status": {"conditions": [condition]}}
            cluster.run(cluster.client.update(CERTIFICATESIGNINGREQUEST, denied, "approval"))

    def left() -> list[str]:
        return [objects.name(found) for found in cluster.list(CERTIFICATESIGNINGREQUEST)]

    cluster.advance(HOUR - 10)
    assert left() == ["denied", "pending"]
    cluster.advance(20)
    assert left() == ["pending"]
    cluster.advance(23 * HOUR - 20)
    assert left() == ["pending"]
    cluster.advance(20)
    assert left() == []
