"""The agent with fakes in virtual time: what the API sees of a pod, from creation to its end."""

import asyncio
from pathlib import Path

import pytest

from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.node import NODE
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.core.secret import SECRET
from sampan.kinds.parts import local_volumes
from sampan.meta import objects, status, timestamps
from sampan.node import lifecycle
from sampan.node.hands import STARTS_AT_ONCE
from sampan.node.kubelet_config import CrashLoopBackOff, KubeletConfig
from sampan.node.observed import Emit
from sampan.node.pull_credentials import PullCredentials
from sampan.node.pull_records import OPEN, PullRecords
from sampan.node.runtime.protocol import RuntimeFailure
from tests.node.conftest import FakePuller, Node


def make_pod(node, name="web", **spec):
    container = {"name": "app", "image": "app:1", **spec.pop("container", {})}
    return node.client.put(
        POD,
        {
            "metadata": {
                "name": name,
                "namespace": "default",
                "generation": 1,
                "creationTimestamp": timestamps.format(node.clock.now()),
            },
            "spec": {"nodeName": "node-1", "containers": [container], "restartPolicy": "Always", **spec},
            "status": {"phase": "Pending", "qosClass": "BestEffort"},
        },
    )


def seen(node):
    return objects.get_path(node.client.find("pods", "web"), "status", {})


def state(node):
    return seen(node)["containerStatuses"][0]["state"]


def conditions(node):
    return {c["type"]: c["status"] for c in seen(node)["conditions"]}


def mark_deleted(node, grace=30):
    pod = objects.copy(node.client.find("pods", "web"))
    pod["metadata"] |= {
        "deletionTimestamp": timestamps.format(node.clock.now() + grace),
        "deletionGracePeriodSeconds": grace,
    }
    node.client.put(POD, pod)


def test_node_is_ready(node):
    """A started agent has a Ready node and a lease."""
    found = node.client.find("nodes", "node-1", "")
    assert {c["type"]: c["status"] for c in found["status"]["conditions"]}["Ready"] == "True"
    assert node.client.find("leases", "node-1", "kube-node-lease")["spec"]["holderIdentity"] == "node-1"
    before = node.client.find("leases", "node-1", "kube-node-lease")["spec"]["renewTime"]
    node.loop.advance(11)
    assert node.client.find("leases", "node-1", "kube-node-lease")["spec"]["renewTime"] > before


def test_pod_runs(node):
    """A pod runs within a tenth of a second and is reported by one write."""
    make_pod(node)
    node.loop.advance(0.1)
    assert seen(node)["phase"] == "Running"
    assert seen(node)["podIP"] == "10.244.0.2"
    assert "running" in state(node)
    assert conditions(node)["Ready"] == "True"
    assert node.client.calls.count(("patch", "pods")) == 1
    assert [reason for reason, _ in node.client.events()] == ["Starting", "Pulled", "Created", "Started"]


def test_crash_is_backed_off(node):
    """The first crash is restarted at once, the next after ten seconds."""
    make_pod(node)
    node.loop.advance(0.1)
    uid = objects.uid(node.client.find("pods", "web"))
    node.runtime.end(f"app-0-{uid}", 1)
    node.loop.advance(0.1)
    assert seen(node)["containerStatuses"][0]["restartCount"] == 1
    assert seen(node)["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 1
    node.runtime.end(f"app-1-{uid}", 1)
    node.loop.advance(0.5)
    waiting = state(node)["waiting"]
    assert waiting["reason"] == "CrashLoopBackOff"
    assert waiting["message"] == f"back-off 10s restarting failed container=app pod=web_default({uid})"
    assert seen(node)["phase"] == "Running"
    node.loop.advance(10)
    assert seen(node)["containerStatuses"][0]["restartCount"] == 2
    assert ("BackOff", f"Back-off restarting failed container app in pod web_default({uid})") in node.client.events()
    assert len(node.runtime.states) == 2


def test_crashes_wait_no_longer_than_the_node_has_them_wait(tmp_path):
    """crashLoopBackOff.maxContainerRestartPeriod: 2 s."""
    made = Node(tmp_path, KubeletConfig(crash_loop_back_off=CrashLoopBackOff(2.0)))
    make_pod(made)
    for _ in range(5):
        made.loop.advance(2.5)
        made.runtime.end(max(made.runtime.states), 1)
    made.loop.advance(2.5)
    assert seen(made)["containerStatuses"][0]["restartCount"] == 5
    made.end()
    made.loop.close()


def test_deletion(node):
    """A deleted pod is stopped within its grace, gives everything back and leaves the API."""
    make_pod(node)
    node.loop.advance(0.1)
    mark_deleted(node, 30)
    node.loop.advance(0.3)
    assert node.client.find("pods", "web") is None
    assert node.runtime.stops[0][1] == 30
    assert not node.runtime.states
    assert not node.agent.records
    assert ("Killing", "Stopping container app") in node.client.events()
    node.loop.run_until_complete(node.network.add("x"))


def test_forced_deletion(node):
    """A pod that vanished from the API is ended all the same."""
    make_pod(node)
    node.loop.advance(0.1)
    node.client.drop(POD, ("default", "web"))
    node.loop.advance(0.3)
    assert not node.runtime.states
    assert not node.agent.records


def test_sidecars_end_after_the_others(node):
    """Their hooks run at once, their signals come in turn, and all have one grace together."""
    hook = {"preStop": {"sleep": {"seconds": 3}}}
    sides = [{"name": name, "image": "app:1", "restartPolicy": "Always", "lifecycle": hook} for name in ("s1", "s2")]
    make_pod(node, initContainers=sides)
    node.loop.advance(1)
    node.runtime.stop_seconds = 8
    mark_deleted(node)
    node.loop.advance(4)
    assert [container_id.split("-")[0] for container_id, _ in node.runtime.stops] == ["app"]
    node.loop.advance(5)
    assert [(stop[0].split("-")[0], round(stop[1])) for stop in node.runtime.stops] == [("app", 30), ("s2", 22)]
    node.loop.advance(8)
    assert [(stop[0].split("-")[0], round(stop[1])) for stop in node.runtime.stops[2:]] == [("s1", 14)]
    node.loop.advance(9)
    assert node.client.find("pods", "web") is None


@pytest.mark.parametrize("forced", [False, True])
def test_who_is_to_end_sooner_does(node, forced):
    """A second deletion with less grace, or by force, doesn't wait for the first."""
    make_pod(node)
    node.loop.advance(0.1)
    node.runtime.stop_seconds = 60
    mark_deleted(node, 60)
    node.loop.advance(1)
    node.runtime.stop_seconds = 0.05
    if forced:
        node.client.drop(POD, ("default", "web"))
    else:
        mark_deleted(node, 5)
    node.loop.advance(1)
    assert [round(seconds) for _, seconds in node.runtime.stops] == [60, 2 if forced else 5]
    assert not node.runtime.states
    assert not node.agent.records


def test_completion(node):
    """A pod that is not to be restarted completes."""
    make_pod(node, restartPolicy="Never")
    node.loop.advance(0.1)
    uid = objects.uid(node.client.find("pods", "web"))
    node.runtime.end(f"app-0-{uid}", 0)
    node.loop.advance(0.3)
    assert seen(node)["phase"] == "Succeeded"
    assert state(node)["terminated"]["reason"] == "Completed"
    assert node.runtime.states, "an ended pod keeps its logs"


def test_missing_image(node):
    """A missing image is refused clearly, and taken up once it is loaded."""
    make_pod(node, container={"image": "other:1"})
    node.loop.advance(0.5)
    assert state(node)["waiting"]["reason"] == "ErrImagePull"
    node.loop.advance(2)
    assert state(node)["waiting"]["reason"] == "ImagePullBackOff"
    assert "sampan image load" in state(node)["waiting"]["message"]
    node.images.names.add("other:1")
    node.loop.advance(3)
    assert seen(node)["phase"] == "Running"


def with_puller(node):
    """The node's agent anew, with somebody who gets images."""
    node.end()
    node.puller = FakePuller(node.clock, node.images)
    node.begin()
    return node.puller


def messages(node, reason):
    return [message for found, message in node.client.events() if found == reason]


def test_a_missing_image_is_pulled(node):
    """With the pod's secrets that are there; the missing ones are named."""
    puller = with_puller(node)
    puller.has.add("other:1")
    node.client.put(SECRET, {"metadata": {"name": "mine", "namespace": "default"}})
    make_pod(node, container={"image": "other:1"}, imagePullSecrets=[{"name": "mine"}, {"name": "lost"}])
    node.loop.advance(3)
    assert seen(node)["phase"] == "Running"
    assert puller.asked == [("other:1", (0, 1), ["mine"])]
    assert messages(node, "Pulling") == ['Pulling image "other:1"']
    said = 'Successfully pulled image "other:1" in 2s (2s including waiting). Image size: 0 bytes.'
    assert messages(node, "Pulled") == [said]
    (told,) = messages(node, "FailedToRetrieveImagePullSecret")
    assert told.startswith("Unable to retrieve some image pull secrets (lost);")


def test_an_image_that_is_nowhere_is_asked_for_with_back_off(node):
    """And is taken from here at once when somebody loads it."""
    puller = with_puller(node)
    make_pod(node, container={"image": "other:1"})
    node.loop.advance(2.5)
    assert state(node)["waiting"] == {"reason": "ErrImagePull", "message": 'failed to pull image "other:1": not found'}
    node.loop.advance(40)
    assert state(node)["waiting"]["reason"] == "ImagePullBackOff"
    assert [number for _, number, _ in puller.asked] == [(0, 1), (0, 2), (0, 3)]
    node.images.names.add("other:1")
    node.loop.advance(3)
    assert (seen(node)["phase"], len(puller.asked)) == ("Running", 3)


def test_an_image_that_is_here_is_renewed_as_its_policy_says(node):
    """A registry that fails then is a failure, though an old image is here; Never asks nobody."""
    puller = with_puller(node)
    puller.renewed.add("app:1")
    make_pod(node, container={"imagePullPolicy": "Always"})
    node.loop.advance(5)
    assert state(node)["waiting"]["reason"] == "ImagePullBackOff"
    puller.has.add("app:1")
    node.loop.advance(15)
    assert (seen(node)["phase"], len(puller.asked)) == ("Running", 2)


@pytest.mark.parametrize("policy", ["IfNotPresent", "Never"])
def test_an_image_that_is_here_for_others_only(node, policy):
    """Is asked for with the pod's own credentials; Never has none of it until it is for everybody."""
    node.credentials = PullCredentials(PullRecords(node.root / "pulls", node.clock))
    secret = {"namespace": "other", "name": "s", "uid": "u", "credentialHash": "h"}
    image = node.images.resolve("app:1").id
    node.credentials.records.add(image, "docker.io/library/app", {"kubernetesSecrets": [secret]})
    puller = with_puller(node)
    make_pod(node, container={"imagePullPolicy": policy})
    node.loop.advance(5)
    if policy == "Never":
        assert state(node)["waiting"]["reason"] == "ErrImageNeverPull"
        said = 'Container image "app:1" is not present with pull policy of Never'
        assert messages(node, "ErrImageNeverPull")[0] == said
        node.credentials.records.add(image, "docker.io/library/app", OPEN)
    else:
        assert state(node)["waiting"]["reason"] == "ImagePullBackOff"
        puller.has.add("app:1")
    node.loop.advance(15)
    assert seen(node)["phase"] == "Running"


def test_an_image_that_is_never_pulled(node):
    """Is not asked for."""
    puller = with_puller(node)
    make_pod(node, container={"image": "other:1", "imagePullPolicy": "Never"})
    node.loop.advance(5)
    assert state(node)["waiting"]["reason"] == "ErrImageNeverPull"
    assert puller.asked == []


def test_missing_config_map(node):
    """A container waits for its ConfigMap."""
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a"}}}]
    make_pod(node, container={"env": env})
    node.loop.advance(0.5)
    assert state(node)["waiting"] == {"reason": "CreateContainerConfigError", "message": 'configmap "conf" not found'}
    node.client.put(CONFIGMAP, {"metadata": {"name": "conf", "namespace": "default"}, "data": {"a": "1"}})
    node.loop.advance(11)
    assert seen(node)["phase"] == "Running"
    assert ("A", "1") in node.runtime.configs[0].env


def test_etc_hostname(node):
    """A container finds its pod's host name there too, as by any other runtime; a volume of its own goes before."""
    make_pod(node, hostname="db-0")
    node.loop.advance(0.5)
    files = {mount.target: Path(mount.source) for mount in node.runtime.configs[0].mounts}
    assert files["/etc/hostname"].read_text() == "db-0\n"
    mount = {"name": "e", "mountPath": "/etc/hostname"}
    make_pod(node, "other", container={"volumeMounts": [mount]}, volumes=[{"name": "e", "emptyDir": {}}])
    node.loop.advance(0.5)
    assert [m.target for m in node.runtime.configs[1].mounts].count("/etc/hostname") == 1


def test_liveness(node):
    """A failing liveness probe has the container killed and restarted."""
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2}
    make_pod(node, container={"livenessProbe": probe})
    node.loop.advance(0.2)
    node.runtime.exec_code = 1
    node.loop.advance(2.5)
    events = node.client.events()
    assert ("Unhealthy", "Liveness probe failed: said no") in events
    assert ("Killing", "Container app failed liveness probe, will be restarted") in events
    assert seen(node)["containerStatuses"][0]["restartCount"] >= 1


def test_a_probe_that_cannot_be_tried_decides_nothing(node, monkeypatch):
    """It is told of, and neither counts nor ends a row of failures."""
    make_pod(node, container={"livenessProbe": {"exec": {"command": ["x"]}, "periodSeconds": 1, "failureThreshold": 2}})
    node.loop.advance(0.5)
    answers = [1, None, None, None, 1, 0]

    async def exec_sync(*arguments):
        code = answers.pop(0) if len(answers) > 1 else 0
        if code is None:
            raise RuntimeFailure("Error", "no exec")
        return code, b""

    monkeypatch.setattr(node.runtime, "exec_sync", exec_sync)
    node.loop.advance(3.4)
    told = [message for reason, message in node.client.events() if reason == "Unhealthy"]
    assert told == ["Liveness probe failed: ", "Liveness probe errored and resulted in unknown state: no exec"]
    assert [m for r, m in node.client.events() if r == "Killing"] == [
        "Container app failed liveness probe, will be restarted"
    ]


def test_what_is_to_end_is_not_asked_whether_it_lives(node):
    """A pod that is deleted has no more failing liveness probes, however long it takes to end."""
    make_pod(node, container={"livenessProbe": {"exec": {"command": ["x"]}, "periodSeconds": 1, "failureThreshold": 3}})
    node.loop.advance(0.5)
    node.runtime.stop_seconds = 20
    mark_deleted(node)
    node.runtime.exec_code = 1
    node.loop.advance(15)
    assert "Unhealthy" not in [reason for reason, _ in node.client.events()]


def test_readiness(node):
    """A pod is Ready only while its readiness probe passes."""
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 1}
    node.runtime.exec_code = 1
    make_pod(node, container={"readinessProbe": probe})
    node.loop.advance(0.5)
    assert conditions(node)["Ready"] == "False"
    node.runtime.exec_code = 0
    node.loop.advance(1.2)
    assert conditions(node)["Ready"] == "True"


def test_adoption(node):
    """A new agent takes over running containers as they are, and ends those of pods that are gone."""
    make_pod(node)
    node.loop.advance(0.1)
    before = dict(node.runtime.states)
    node.end()
    node.begin()
    node.loop.advance(1)
    assert node.runtime.states == before
    assert seen(node)["containerStatuses"][0]["restartCount"] == 0
    node.end()
    node.client.drop(POD, ("default", "web"))
    node.begin()
    node.loop.advance(1)
    assert not node.runtime.states


def test_what_the_api_says_of_the_node_counts_from_the_start(node):
    """A pod that wants a label which somebody gave the node is taken by an agent that has just begun."""
    known = objects.copy(node.client.find("nodes", "node-1", ""))
    known["metadata"].setdefault("labels", {})["disk"] = "ssd"
    node.client.put(NODE, known)
    node.end()
    make_pod(node, nodeSelector={"disk": "ssd"})
    node.begin()
    node.loop.advance(1)
    assert seen(node)["phase"] == "Running"


def test_a_start_while_the_api_refuses(node, monkeypatch):
    """An agent that finds a pod of its own and an API that answers 503 comes up once it doesn't."""
    make_pod(node)
    node.end()
    get, refusals = node.client.get, [status.ApiError({"code": 503, "message": "no"})] * 3

    async def refusing(kind, *arguments):
        if kind is NODE and refusals:
            raise refusals.pop()
        return await get(kind, *arguments)

    monkeypatch.setattr(node.client, "get", refusing)
    node.begin()
    node.loop.advance(1)
    assert not refusals
    assert seen(node)["phase"] == "Running"


def test_init_containers(node):
    """Init containers run one after the other, then the app."""
    make_pod(node, initContainers=[{"name": "one", "image": "app:1"}, {"name": "two", "image": "app:1"}])
    uid = objects.uid(node.client.find("pods", "web"))
    node.loop.advance(0.5)
    assert [c.name for c in node.runtime.configs] == ["one"]
    assert seen(node)["phase"] == "Pending"
    node.runtime.end(f"one-0-{uid}", 0)
    node.loop.advance(0.1)
    node.runtime.end(f"two-0-{uid}", 0)
    node.loop.advance(0.1)
    assert [c.name for c in node.runtime.configs] == ["one", "two", "app"]
    assert seen(node)["phase"] == "Running"
    assert conditions(node)["Initialized"] == "True"


def test_deadline(node):
    """A pod that is active for too long fails."""
    make_pod(node, activeDeadlineSeconds=5, restartPolicy="Never")
    node.loop.advance(6)
    assert seen(node)["phase"] == "Failed"
    assert seen(node)["reason"] == "DeadlineExceeded"
    assert "terminated" in state(node)


def test_doubted_node(node):
    """A node that others judged lost says at once that it is well; one that was deleted comes back."""
    from sampan.kinds.core.node import NODE

    lost = objects.copy(node.client.find("nodes", "node-1", ""))
    for condition in lost["status"]["conditions"]:
        condition["status"] = "Unknown"
    node.client.put(NODE, lost)
    node.loop.advance(0.5)
    found = node.client.find("nodes", "node-1", "")["status"]["conditions"]
    assert {c["type"]: c["status"] for c in found}["Ready"] == "True"
    node.client.drop(NODE, ("", "node-1"))
    node.loop.advance(3)
    found = node.client.find("nodes", "node-1", "")["status"]["conditions"]
    assert {c["type"]: c["status"] for c in found}["Ready"] == "True"


def test_pre_stop_counts_within_the_grace(node):
    """preStop runs first and takes its time from the grace."""
    make_pod(node, container={"lifecycle": {"preStop": {"sleep": {"seconds": 4}}}})
    node.loop.advance(0.2)
    mark_deleted(node, 10)
    node.loop.advance(3)
    assert not node.runtime.stops
    node.loop.advance(2)
    assert 5.5 < node.runtime.stops[0][1] <= 6


def test_who_is_deleted_while_a_container_is_made_does_not_wait_for_its_hook(node, monkeypatch):
    """However slow the runtime, and however long postStart takes: the pod ends as soon as there is something to end."""
    start = node.runtime.start

    async def slow(config):
        await node.clock.sleep(6)
        return await start(config)

    monkeypatch.setattr(node.runtime, "start", slow)
    make_pod(node, container={"lifecycle": {"postStart": {"sleep": {"seconds": 500}}}})
    node.loop.advance(5)
    mark_deleted(node, 2)
    node.loop.advance(0.5)
    assert not node.runtime.configs
    node.loop.advance(5)
    assert node.runtime.configs
    assert node.client.find("pods", "web") is None
    assert not node.runtime.states


class Hanging:
    """A call that never comes to its end, unless it is broken off."""

    def __init__(self):
        self.begun = self.broken_off = 0

    async def __call__(self, *args):
        self.begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.broken_off += 1


@pytest.mark.parametrize("part", ["runtime.prepare", "runtime.start", "network.add", "volumes.prepare", "puller.pull"])
@pytest.mark.parametrize("is_forced", [False, True])
def test_who_is_deleted_while_its_beginning_hangs(node, monkeypatch, part, is_forced):
    """It is broken off, whatever the grace: nobody wants it any more. What is told of the pod is no failure."""
    name, call = part.split(".")
    parts, hanging = node.agent.parts, Hanging()
    if name == "puller":
        with_puller(node)
        parts = node.agent.parts
    monkeypatch.setattr(getattr(parts, name), call, hanging)
    own = {"hostUsers": False} if part == "runtime.prepare" else {}
    make_pod(node, container={"image": "other:1" if name == "puller" else "app:1"}, **own)
    node.loop.advance(30)
    assert (hanging.begun, hanging.broken_off) == (1, 0)
    if is_forced:
        node.client.drop(POD, ("default", "web"))
    else:
        mark_deleted(node, 30)
    node.loop.advance(3)
    assert (hanging.begun, hanging.broken_off) == (1, 1)
    assert node.client.find("pods", "web") is None
    assert not node.agent.records
    assert not {"Failed", "FailedMount", "FailedCreatePodSandBox"} & {reason for reason, _ in node.client.events()}


def test_a_pod_that_is_over_while_its_image_is_pulled(node, monkeypatch):
    """Its deadline ends the pull too."""
    hanging = Hanging()
    monkeypatch.setattr(with_puller(node), "pull", hanging)
    make_pod(node, container={"image": "other:1"}, activeDeadlineSeconds=5)
    node.loop.advance(8)
    assert (seen(node)["phase"], seen(node)["reason"], hanging.broken_off) == ("Failed", "DeadlineExceeded", 1)


def test_starts_that_hang_hold_up_no_other(node, monkeypatch):
    """More of them than may be under way at once: after ten seconds they do not count."""
    hanging, start = Hanging(), node.runtime.start
    monkeypatch.setattr(node.runtime, "start", hanging)
    for number in range(2 * STARTS_AT_ONCE):
        make_pod(node, name=f"hangs-{number}")
    node.loop.advance(1)
    assert hanging.begun == STARTS_AT_ONCE
    node.loop.advance(10)
    assert hanging.begun == 2 * STARTS_AT_ONCE
    monkeypatch.setattr(node.runtime, "start", start)
    make_pod(node)
    node.loop.advance(10.5)
    assert seen(node)["phase"] == "Running"


def test_start_failure(node):
    """A container that can't be created says why, and is tried again."""
    node.runtime.failure = ("CreateContainerError", "no such file")
    make_pod(node)
    node.loop.advance(0.5)
    assert state(node)["waiting"] == {"reason": "CreateContainerError", "message": "no such file"}
    assert ("Failed", "Error: no such file") in node.client.events()
    node.runtime.failure = None
    node.loop.advance(11)
    assert seen(node)["phase"] == "Running"


def test_a_pod_that_is_too_big_is_turned_away(node):
    """Bound by name, past the scheduler: Failed, OutOfcpu, with an event."""
    make_pod(node, container={"resources": {"requests": {"cpu": "10000"}}})
    node.loop.advance(0.1)
    assert (seen(node)["phase"], seen(node)["reason"]) == ("Failed", "OutOfcpu")
    assert seen(node)["message"].startswith("Pod was rejected: Node didn't have enough resource: cpu, requested: ")
    assert "containerStatuses" not in seen(node)
    assert [reason for reason, _ in node.client.events()].count("OutOfcpu") == 1


def test_a_pod_that_the_node_is_not_for_is_turned_away(node):
    """As the API's Node is labelled now."""
    make_pod(node, nodeSelector={"disk": "ssd"})
    node.loop.advance(0.1)
    assert (seen(node)["phase"], seen(node)["reason"]) == ("Failed", "NodeAffinity")
    text = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    assert seen(node)["message"] == f"Pod was rejected: {text}"
    assert ("NodeAffinity", text) in node.client.events()
    node.client.drop(POD, ("default", "web"))
    own = objects.copy(node.client.find("nodes", "node-1", ""))
    own["metadata"]["labels"]["disk"] = "ssd"
    node.client.put(NODE, own)
    node.loop.advance(0.1)
    make_pod(node, nodeSelector={"disk": "ssd"})
    node.loop.advance(0.1)
    assert seen(node)["phase"] == "Running"


def test_a_critical_pod_gets_room(node):
    """Another is ended for it, with its own grace, and says why."""
    cpus = int(node.client.find("nodes", "node-1", "")["status"]["allocatable"]["cpu"])
    asked = {"resources": {"requests": {"cpu": str(cpus)}}}
    make_pod(node, container=asked)
    node.loop.advance(0.1)
    critical = objects.copy(node.client.find("pods", "web"))
    critical["metadata"] = {"name": "critical", "namespace": "default"}
    critical["spec"]["priority"] = 2_000_000_000
    critical["status"] = {"phase": "Pending", "qosClass": "Burstable"}
    node.client.put(POD, critical)
    node.loop.advance(40)
    assert (seen(node)["phase"], seen(node)["reason"]) == ("Failed", "Preempting")
    assert seen(node)["message"] == "Preempted in order to admit critical pod"
    disruption = next(c for c in seen(node)["conditions"] if c["type"] == "DisruptionTarget")
    assert (disruption["status"], disruption["reason"]) == ("True", "TerminationByKubelet")
    assert disruption["message"] == "Pod was preempted by Kubelet to accommodate a critical pod."
    assert ("Preempting", "Preempted in order to admit critical pod") in node.client.events()
    assert node.client.find("pods", "critical")["status"]["phase"] == "Running"


def test_a_pod_with_an_unsafe_setting_is_turned_away(node):
    """Failed, SysctlForbidden."""
    make_pod(node, securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]})
    node.loop.advance(0.1)
    assert (seen(node)["phase"], seen(node)["reason"]) == ("Failed", "SysctlForbidden")
    assert seen(node)["message"] == 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted'


def test_a_path_is_tried_again_when_the_pod_is_described_anew(node):
    """At once, not when its time has come; and the host's address is not the pod's."""
    path = {"name": "PATH_", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['path']"}}}
    host = {"name": "HOST_", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}
    mount = {"name": "e", "mountPath": "/e", "subPathExpr": "$(PATH_)"}
    make_pod(node, container={"env": [path, host], "volumeMounts": [mount]}, volumes=[{"name": "e", "emptyDir": {}}])
    node.loop.advance(0.5)
    assert state(node)["waiting"] == {"reason": "CreateContainerConfigError", "message": "missing value for PATH_"}
    named = objects.copy(node.client.find("pods", "web"))
    named["metadata"]["annotations"] = {"path": "now"}
    node.client.put(POD, named)
    node.loop.advance(0.5)
    assert seen(node)["phase"] == "Running"
    assert ("HOST_", seen(node)["hostIP"]) in node.runtime.configs[0].env
    assert seen(node)["hostIP"] != seen(node)["podIP"]


def test_similar_events_are_combined(node):
    """Messages that never repeat do not fill the API."""
    pod = make_pod(node)
    for number in range(40):
        node.agent.recorder.emit(pod, Emit("Warning", "Unhealthy", f"probe {number}"))
    told = [event["message"] for event in node.agent.recorder._queue if event["reason"] == "Unhealthy"]
    assert told[:9] == [f"probe {number}" for number in range(9)]
    assert told[9:] == ["(combined from similar events): probe 9"]


CLAIMED = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
FAILED = (
    "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], "
    "failed to process volumes=[data]: error processing PVC default/data: "
)


def put_claim(node, **spec):
    marks = {"pv.kubernetes.io/bind-completed": "yes"} if spec.get("volumeName") else {}
    metadata = {"name": "data", "namespace": "default", "annotations": marks}
    return node.client.put(PERSISTENTVOLUMECLAIM, {"metadata": metadata, "spec": spec})


def test_a_pod_waits_for_its_claims_volume(node):
    """It is said what is missing, until the claim is bound to a volume that is its own."""
    make_pod(node, volumes=CLAIMED)
    node.loop.advance(1)
    assert ("FailedMount", FAILED + 'failed to fetch PVC from API server: persistentvolumeclaims "data" not found') in (
        node.client.events()
    )
    put_claim(node)
    node.loop.advance(8)
    assert ("FailedMount", FAILED + "PVC is not bound") in node.client.events()
    claim = put_claim(node, volumeName="v")
    reference = {"namespace": "default", "name": "data", "uid": objects.uid(claim)}
    node.client.put(PERSISTENTVOLUME, {"metadata": {"name": "v"}, "spec": {"claimRef": reference}})
    node.loop.advance(15)
    assert seen(node)["phase"] == "Running"


def test_folders_of_volumes_that_are_over_are_taken_away(node):
    """The Node says which, and no more when it is done."""
    gone = []

    async def discard(name):
        gone.append(name)
        if len(gone) == 1:
            raise OSError("busy")

    node.agent.parts.volumes.discard = discard
    asked = objects.copy(node.client.find("nodes", "node-1", ""))
    assert local_volumes.root(asked) == str(node.root / "local-volumes")
    asked["metadata"]["annotations"]["over.local.sampan.dev/v"] = ""
    node.client.put(NODE, asked)
    node.loop.advance(1)
    assert gone == ["v"]
    node.loop.advance(15)
    assert gone == ["v", "v"]
    assert local_volumes.over(node.client.find("nodes", "node-1", "")) == []


@pytest.mark.parametrize("cut", [step / 50 for step in range(16)])
def test_a_pod_begins_anew_whenever_the_agent_dies(node, cut):
    """Each container starts once more, init containers first, wherever the first agent was."""
    rules = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}]
    watcher = {"name": "watcher", "image": "app:1", "restartPolicy": "Never", "restartPolicyRules": rules}
    containers = [{"name": "app", "image": "app:1"}, watcher]
    first = {"name": "first", "image": "app:1"}
    make_pod(node, restartPolicy="Never", initContainers=[first], containers=containers)
    uid = objects.uid(node.client.find("pods", "web"))
    node.loop.advance(0.5)
    node.runtime.end(f"first-0-{uid}", 0)
    node.loop.advance(1)
    node.runtime.end(f"watcher-0-{uid}", 88)
    node.loop.advance(cut)
    node.end()
    node.begin()
    node.loop.advance(2)
    assert conditions(node)["AllContainersRestarting"] == "False"
    node.runtime.end(f"first-1-{uid}", 0)
    node.loop.advance(1)
    assert [(c.name, c.attempt) for c in node.runtime.configs[3:]] == [("first", 1), ("app", 1), ("watcher", 1)]
    status = seen(node)
    found = [*status["initContainerStatuses"], *status["containerStatuses"]]
    assert [(s["name"], s["restartCount"]) for s in found] == [("first", 1), ("app", 1), ("watcher", 1)]
    assert [s["lastState"]["terminated"]["reason"] for s in found] == ["RestartingAllContainers"] * 3
    assert (status["phase"], conditions(node)["Ready"]) == ("Running", "True")


def test_a_pod_at_which_we_fail_stops_no_other(node, monkeypatch, caplog):
    """It is looked at again; so it is when we fail as it comes, and as one of its containers ends."""
    advance, admit, faults = lifecycle.advance, node.agent.gate.admit, {"come", "look"}

    def advancing(pod, observed, now):
        if objects.name(pod) in faults & {"look"}:
            raise KeyError("state")
        return advance(pod, observed, now)

    def admitting(record):
        if objects.name(record.pod) in faults & {"come"}:
            raise KeyError("spec")
        admit(record)

    monkeypatch.setattr(lifecycle, "advance", advancing)
    monkeypatch.setattr(node.agent.gate, "admit", admitting)
    for name in ("come", "look", "web"):
        make_pod(node, name)
    node.loop.advance(0.5)
    assert seen(node)["phase"] == "Running"
    assert {r.name for r in caplog.records if r.exc_info} == {"sampan.node.agent", "sampan.client.cache"}
    faults.clear()
    node.loop.advance(10)
    for name in ("come", "look"):
        assert node.client.find("pods", name)["status"]["phase"] == "Running"


def test_a_pod_whose_status_says_little_is_taken_over(node):
    """What somebody wrote of its containers lacks what an agent would have written."""
    container = {"name": "app", "containerID": "fake://gone"}
    made = make_pod(node)
    made = objects.copy(node.client.find("pods", "web"))
    made["status"] = {"phase": "Running", "containerStatuses": [container, {}]}
    node.client.put(POD, made)
    node.loop.advance(1)
    assert seen(node)["phase"] == "Running"
    assert "running" in state(node)
