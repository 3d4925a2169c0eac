"""What a pod is to have around its containers is asked for before its network, and refused with the pod's own event."""

import dataclasses

import pytest

from sampan.kinds.node.runtime_class import RUNTIMECLASS
from sampan.kinds.parts import pod_resources
from sampan.node import podspec, resources
from sampan.node.network.network_policies import NotInForce
from sampan.node.runtime.protocol import RuntimeFailure, Sandbox
from tests.node.test_agent import make_pod, mark_deleted, seen, state


@pytest.fixture
def prepared(node, monkeypatch):
    """What was asked of the runtime for pods, and what it answers: a failure, or a namespace's path."""
    asked = {"sandboxes": [], "answer": "", "released": [], "network": []}

    async def prepare(sandbox):
        asked["sandboxes"].append(sandbox)
        if isinstance(asked["answer"], RuntimeFailure):
            raise asked["answer"]
        return asked["answer"]

    async def release(uid):
        asked["released"].append(uid)

    before = node.network.add

    async def add(uid, request):
        asked["network"].append(request.netns)
        return await before(uid, request)

    monkeypatch.setattr(node.runtime, "prepare", prepare)
    monkeypatch.setattr(node.runtime, "release", release)
    monkeypatch.setattr(node.network, "add", add)
    return asked


def put_class(node, handler):
    node.client.put(RUNTIMECLASS, {"metadata": {"name": "deep"}, "handler": handler})


def test_a_usual_pod_asks_for_nothing(node, prepared):
    """It costs no call."""
    make_pod(node)
    node.loop.advance(0.2)
    assert seen(node)["phase"] == "Running"
    assert (prepared["sandboxes"], prepared["network"]) == ([], [""])


def test_the_class_names_the_runtime(node, prepared):
    """The container is run by it, also after a restart when the class is gone."""
    put_class(node, "runsc")
    pod = make_pod(node, runtimeClassName="deep")
    node.loop.advance(0.2)
    uid = pod["metadata"]["uid"]
    assert prepared["sandboxes"] == [Sandbox(uid, "runsc")]
    (config,) = node.runtime.configs
    assert (config.handler, config.own_users) == ("runsc", False)
    node.client.drop(RUNTIMECLASS, ("", "deep"))
    node.loop.advance(60)
    node.runtime.end(f"app-0-{uid}", 1)
    node.loop.advance(30)
    assert [each.handler for each in node.runtime.configs] == ["runsc", "runsc"]
    mark_deleted(node)
    node.loop.advance(5)
    assert prepared["released"][-1] == uid


def test_a_class_that_is_not_there(node, prepared):
    """The pod waits for it, and says so."""
    make_pod(node, runtimeClassName="deep")
    node.loop.advance(0.5)
    text = 'Failed to create pod sandbox: runtimeclasses.node.k8s.io "deep" not found'
    assert ("FailedCreatePodSandBox", text) in node.client.events()
    assert state(node)["waiting"] == {"reason": "ContainerCreating"}
    put_class(node, "runc")
    node.loop.advance(15)
    assert seen(node)["phase"] == "Running"


@pytest.mark.parametrize("host", [False, True])
def test_a_handler_that_is_not_there(host, node, prepared):
    """In the runtime's words; on the host's network too, where there is nothing else to be made before."""
    put_class(node, "odd")
    failure = RuntimeFailure("FailedCreatePodSandBox", 'no runtime for "odd" is configured')
    prepared["answer"] = failure
    node.runtime.failure = (failure.reason, failure.message) if host else None
    make_pod(node, runtimeClassName="deep", hostNetwork=host)
    node.loop.advance(0.5)
    text = 'Failed to create pod sandbox: no runtime for "odd" is configured'
    assert ("FailedCreatePodSandBox", text) in node.client.events()
    assert state(node)["waiting"]["reason"] == "ContainerCreating"
    assert node.runtime.configs == []


def test_users_of_its_own(node, prepared):
    """Its network is in the namespace that is its users'; what it may have of /proc is asked for too."""
    prepared["answer"] = "/p/net"
    context = {"securityContext": {"procMount": "Unmasked"}}
    security = {"supplementalGroupsPolicy": "Strict"}
    make_pod(node, hostUsers=False, container=context, securityContext=security, shareProcessNamespace=True)
    node.loop.advance(0.2)
    assert prepared["network"] == ["/p/net"]
    (config,) = node.runtime.configs
    assert (config.own_users, config.unmasked_proc, config.only_named_groups) == (True, True, True)
    assert (config.shares_processes, config.shares_ipc) == (True, False)


def test_ipc_is_shared_where_there_is_somebody_to_share_it_with():
    """And it is not the host's."""
    both = {"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}
    assert podspec.shares_ipc(both)
    assert not podspec.shares_ipc({"spec": {**both["spec"], "hostIPC": True}})
    assert not podspec.shares_ipc({"spec": {"containers": [{"name": "a"}]}})


def test_huge_pages():
    """Each size as a runtime names it; what a class costs counts for the pod."""
    limits = {"hugepages-2Mi": "4Mi", "hugepages-1Gi": "1Gi", "hugepages-64Ki": "128Ki", "memory": "1Mi", "cpu": "1"}
    found = resources.cgroup({"resources": {"limits": limits}}, {})
    assert found.huge_pages == (("1GB", 1 << 30), ("2MB", 4 << 20), ("64KB", 128 << 10))
    spec = {"containers": [{"name": "a", "resources": {"limits": limits}}], "overhead": {"memory": "1Mi"}}
    assert resources.pod_cgroup(spec).memory_limit == 2 << 20
    assert str(pod_resources.requests(spec)["memory"]) == "1Mi"


def test_a_pod_waits_for_the_policies_over_it(node, monkeypatch):
    """Nothing runs in it before the network policies for its addresses are in force; why not is said, and tried again."""
    covered, refusals = [], [NotInForce("network policies are not known yet")]

    class Guard:
        async def cover(self, pod, addresses):
            covered.append((pod["metadata"]["name"], list(addresses), len(node.runtime.configs)))
            if refusals:
                raise refusals.pop()

    parts = node.parts
    node.end()
    monkeypatch.setattr(node, "parts", lambda: dataclasses.replace(parts(), guard=Guard()))
    node.begin()
    make_pod(node)
    node.loop.advance(0.5)
    text = "Failed to create pod sandbox: network policies are not known yet"
    assert ("FailedCreatePodSandBox", text) in node.client.events()
    assert node.runtime.configs == []
    node.loop.advance(15)
    assert seen(node)["phase"] == "Running"
    address = seen(node)["podIP"]
    assert covered == [("web", [address], 0)] * 2
