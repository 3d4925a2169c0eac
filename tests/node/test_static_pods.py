"""Static pods: files that run, and mirror pods that show them."""

import json

import pytest

from sampan.client.transport import TransportError
from sampan.kinds.core.pod import POD
from sampan.meta import objects
from sampan.node import static_files
from sampan.node.kubelet_config import KubeletConfig
from sampan.node.observed import Termination
from sampan.node.static_files import StaticPodError
from tests.node.conftest import Node

LOOK = 21
PLAIN = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"app": "web"}}}


def tree(**changes):
    container = {"name": "app", "image": "app:1", **changes.pop("container", {})}
    return {**PLAIN, "spec": {"containers": [container], "terminationGracePeriodSeconds": 5, **changes}}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "manifests"
    made.mkdir()
    return made


@pytest.fixture
def node(tmp_path, folder):
    """One whose static pods are in `folder`."""
    made = Node(tmp_path, KubeletConfig(static_pod_path=str(folder)))
    yield made
    made.end()
    made.loop.close()


def put(folder, name, pod):
    (folder / name).write_text(json.dumps(pod))


def mirror(node):
    return node.client.find("pods", "web-node-1")


def record(node):
    return next((r for r in node.agent.records.values() if r.is_static), None)


def test_what_a_file_means():
    """Names, hash and marks as upstream's kubelet gives them; another content or file is another pod."""
    data = json.dumps(tree()).encode()
    made = static_files.pod(data, "/a/web.yaml", "node-1", 1.0)
    uid = made["metadata"]["uid"]
    assert (made["metadata"]["name"], made["metadata"]["namespace"], len(uid)) == ("web-node-1", "default", 32)
    assert made["metadata"]["annotations"] == {
        "kubernetes.io/config.hash": uid,
        "kubernetes.io/config.seen": "1970-01-01T00:00:01.000000Z",
        "kubernetes.io/config.source": "file",
    }
    assert made["spec"]["tolerations"] == [{"operator": "Exists", "effect": "NoExecute"}]
    assert (made["spec"]["nodeName"], made["spec"]["restartPolicy"]) == ("node-1", "Always")
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert static_files.pod(data, "/a/web.yaml", "node-1", 2.0)["metadata"]["uid"] == uid
    assert static_files.pod(data, "/a/other.yaml", "node-1", 1.0)["metadata"]["uid"] != uid
    other = json.dumps(tree(hostNetwork=True)).encode()
    assert static_files.pod(other, "/a/web.yaml", "node-1", 1.0)["metadata"]["uid"] != uid
    named = json.dumps({**tree(), "metadata": {"name": "web", "namespace": "kube-system", "uid": "mine"}}).encode()
    assert static_files.pod(named, "/a/web.yaml", "n", 1.0)["metadata"]["uid"] == "mine"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "couldn't parse as pod"),
        ("[1]", "couldn't parse as pod"),
        (json.dumps({**tree(), "kind": "Service"}), "couldn't parse as pod"),
        (json.dumps({**PLAIN, "spec": {"containers": "x"}}), "couldn't parse as pod"),
        (json.dumps({**PLAIN, "spec": {}}), "spec.containers: Required value"),
        (json.dumps({**tree(), "metadata": {"name": "A_"}}), "metadata.name: "),
        (json.dumps(tree(serviceAccountName="x")), "static pods may not reference serviceaccounts"),
        (json.dumps(tree(volumes=[{"name": "a", "secret": {"secretName": "b"}}])), "may not reference secrets"),
        (json.dumps(tree(container={"envFrom": [{"configMapRef": {"name": "b"}}]})), "may not reference configmaps"),
    ],
)
def test_what_is_no_pod_is_refused(content, why):
    """With a reason, whatever the file holds."""
    with pytest.raises(StaticPodError) as error:
        static_files.pod(content.encode(), "/a", "n", 1.0)
    assert why in str(error.value)


def test_only_files_that_show_are_read(folder):
    """No hidden ones, folders or pipes; of two that mean the same pod the first."""
    put(folder, ".web.yaml", tree())
    (folder / "sub").mkdir()
    put(folder, "b.yaml", tree(hostNetwork=True))
    put(folder, "a.json", tree())
    (folder / "c").symlink_to("/dev/null")
    found, wrong = static_files.read(folder, "n", 1.0)
    assert [pod["spec"].get("hostNetwork") for pod in found.values()] == [None]
    assert wrong == {
        str(folder / "b.yaml"): f"default/web-n is in {folder}/a.json already",
        str(folder / "c"): "it isn't a regular file",
    }
    assert list(static_files.read(folder / "a.json", "n", 1.0)[0].values())[0]["metadata"]["name"] == "web-n"
    assert static_files.read(folder / "gone", "n", 1.0) == ({}, {})


def test_a_file_runs_and_has_a_mirror(node, folder):
    """Which belongs to the Node and has the pod's status; events are about the pod itself."""
    put(folder, "web.yaml", tree())
    node.loop.advance(LOOK)
    uid = record(node).uid
    assert [config.pod_uid for config in node.runtime.configs] == [uid]
    metadata = mirror(node)["metadata"]
    assert metadata["annotations"]["kubernetes.io/config.mirror"] == uid
    assert metadata["labels"] == {"app": "web"}
    own = node.client.find("nodes", "node-1", "")
    owner = {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": objects.uid(own), "controller": True}
    assert metadata["ownerReferences"] == [owner]
    assert mirror(node)["status"]["phase"] == "Running"
    assert mirror(node)["status"]["containerStatuses"][0]["ready"] is True
    assert node.agent.running("default", "web-node-1").uid == uid
    about = [
        o["involvedObject"] for k, o in node.client.objects.items() if k[0] == "events" and o["reason"] == "Started"
    ]
    assert about[0]["uid"] == uid


def test_a_changed_file_is_another_pod(node, folder):
    """The old one ends first, with its own grace; the mirror is made anew."""
    put(folder, "web.yaml", tree())
    node.loop.advance(LOOK)
    first = record(node).uid
    put(folder, "web.yaml", tree(container={"command": ["x"]}))
    node.loop.advance(LOOK)
    assert node.runtime.stops == [(f"app-0-{first}", 5.0)]
    assert [config.pod_uid == first for config in node.runtime.configs] == [True, False]
    assert mirror(node)["metadata"]["annotations"]["kubernetes.io/config.mirror"] == record(node).uid != first
    assert mirror(node)["status"]["phase"] == "Running"


def test_a_file_that_is_gone_ends_its_pod(node, folder):
    """And the mirror goes after it."""
    put(folder, "web.yaml", tree())
    node.loop.advance(LOOK)
    (folder / "web.yaml").unlink()
    node.loop.advance(LOOK)
    assert record(node) is None
    assert mirror(node) is None
    assert node.runtime.states == {}


def test_who_deletes_the_mirror_ends_nothing(node, folder):
    """It is made again, with the status; one whose deletion was asked for is let go of at once."""
    put(folder, "web.yaml", tree())
    node.loop.advance(LOOK)
    uid = objects.uid(mirror(node))
    node.client.drop(POD, ("default", "web-node-1"))
    node.loop.advance(1)
    assert objects.uid(mirror(node)) != uid
    assert mirror(node)["status"]["phase"] == "Running"
    uid, marked = objects.uid(mirror(node)), objects.copy(mirror(node))
    marked["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}
    node.client.put(POD, marked)
    node.loop.advance(1)
    assert objects.uid(mirror(node)) != uid
    assert (len(node.runtime.configs), node.runtime.stops) == (1, [])


def test_a_bad_file_is_told_of_once(node, folder):
    """The others run."""
    put(folder, "web.yaml", tree())
    (folder / "bad.yaml").write_text("{")
    node.loop.advance(3 * LOOK)
    assert mirror(node)["status"]["phase"] == "Running"
    told = [message for reason, message in node.client.events() if reason == "FailedStaticPod"]
    assert len(told) == 1
    assert told[0].startswith(f"{folder}/bad.yaml: couldn't parse as pod")


def test_a_new_agent_goes_on(node, folder):
    """It adopts the containers and says nothing new; a mirror without a file goes."""
    put(folder, "web.yaml", tree())
    node.loop.advance(LOOK)
    before = mirror(node)
    stray = objects.copy(before)
    stray["metadata"] = {k: v for k, v in stray["metadata"].items() if k != "uid"} | {"name": "stray-node-1"}
    node.client.put(POD, stray)
    node.end()
    node.begin()
    node.loop.advance(5)
    assert len(node.runtime.configs) == 1
    assert mirror(node) == before
    assert node.client.find("pods", "stray-node-1") is None


def test_a_pod_that_its_node_ended_begins_again_with_the_next_agent(node, folder):
    """As after the machine's shutdown: its file still asks for it."""
    put(folder, "web.yaml", tree())
    node.loop.advance(LOOK)
    record(node).terminated = Termination("Terminated", "shutdown", 1.0, "shutdown")
    node.agent.wake(record(node).uid)
    node.loop.advance(5)
    assert (mirror(node)["status"]["phase"], mirror(node)["status"]["reason"]) == ("Failed", "Terminated")
    node.end()
    node.runtime.states.clear()
    node.begin()
    node.loop.advance(5)
    assert mirror(node)["status"]["phase"] == "Running"
    assert "reason" not in mirror(node)["status"]


def test_a_file_that_comes_back_while_its_pod_is_cleared_away(node, folder):
    """The pod, which has the same uid again, begins once all of its former life is gone."""
    put(folder, "web.yaml", tree())
    node.loop.advance(LOOK)
    uid = record(node).uid
    node.end()
    (folder / "web.yaml").unlink()
    node.runtime.stop_seconds = 100
    node.begin()
    put(folder, "web.yaml", tree())
    node.loop.advance(LOOK)
    assert len(node.runtime.configs) == 1
    node.loop.advance(100)
    assert [config.pod_uid for config in node.runtime.configs] == [uid, uid]
    assert mirror(node)["status"]["phase"] == "Running"


def test_files_do_not_wait_for_the_api(node, folder, monkeypatch):
    """Their pods begin after two seconds without it; their mirrors follow when it is there."""
    node.end()
    put(folder, "web.yaml", tree())

    async def silent(*arguments, **options):
        raise TransportError("connection refused")

    with monkeypatch.context() as away:
        for name in ("list", "create", "patch", "get"):
            away.setattr(node.client, name, silent)
        starting = node.begin(wait=False)
        node.loop.advance(5)
        assert len(node.runtime.configs) == 1
        assert not starting.done()
    node.loop.advance(60)
    assert starting.done()
    assert mirror(node)["status"]["phase"] == "Running"
    assert len(node.runtime.configs) == 1
