"""Node pressure as rules: what is met and for how long, who may come, who has to go, and what is said of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sampan.meta import quantity
from sampan.node import kubelet_config, pressure, storage_limits, thresholds, victims
from sampan.node.kubelet_fields import KubeletConfigError
from sampan.node.pod_use import ContainerUse, PodUse, Space
from sampan.node.thresholds import Amount, Threshold

CASES = Path(__file__).parents[1] / "cases/node"
MIB = 1 << 20


def amounts(left: dict[str, list[Any]]) -> dict[str, Amount]:
    return {name: Amount(*(quantity.to_int(number) for number in pair)) for name, pair in left.items()}


@pytest.mark.parametrize(
    "case", yaml.safe_load((CASES / "pressure.yaml").read_text()), ids=lambda case: str(case["promise"])
)
def test_pressure(case: dict[str, Any]) -> None:
    """Each document holds."""
    given = case["given"]
    hard = thresholds.hard(given.get("hard"), is_merged=given.get("merge", False))
    parts = (given.get(name, {}) for name in ("soft", "graces", "reclaims"))
    applied = thresholds.all_of(hard, *parts)
    past = pressure.Past()
    for look in case["looks"]:
        verdict = pressure.judge(applied, amounts(look["left"]), past, 1000.0 + look["at"], 300.0)
        assert list(verdict.conditions) == look["conditions"], look
        assert [threshold.signal for threshold in verdict.due] == look["due"], look
        past = verdict.past


def use(name: str, given: dict[str, Any], resource: str = "memory") -> PodUse:
    requests = {"requests": {resource: given["asked"]}} if "asked" in given else {}
    spec = {"containers": [{"name": "app", "resources": requests}], "priority": given.get("priority", 0)}
    memory = quantity.to_int(given["memory"]) if "memory" in given else None
    layer = Space(quantity.to_int(given.get("layer", "0")), given.get("inodes", 0))
    logs = Space(quantity.to_int(given.get("logs", "0")))
    container = ContainerUse(memory, given.get("processes", 0), layer, logs)
    volumes = {"data": Space(quantity.to_int(given.get("volume", "0")))}
    return PodUse({"metadata": {"name": name}, "spec": spec}, {"app": container}, volumes)


@pytest.mark.parametrize(
    "case", yaml.safe_load((CASES / "victims.yaml").read_text()), ids=lambda case: str(case["promise"])
)
def test_victims(case: dict[str, Any]) -> None:
    """Each document holds, in whichever order the pods come."""
    resource = thresholds.RESOURCES[case["signal"]]
    pods = [use(name, given, resource) for name, given in case["pods"].items()]
    for order in (pods, pods[::-1]):
        ranked = victims.rank(case["signal"], order, has_image_disk=False)
        assert [found.pod["metadata"]["name"] for found in ranked] == case["then"]


def test_what_is_said_of_it() -> None:
    """The message names what the node was low on, how low, and the containers that use more than they asked for."""
    low = Threshold(thresholds.MEMORY, "100Mi")
    signals = {thresholds.MEMORY: Amount(64 * MIB, 1024 * MIB)}
    message, marks = victims.message((low,), signals, use("web", {"asked": "10Mi", "memory": "20Mi"}))
    assert message == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 64Mi. "
        "Container app was using 20Mi, request is 10Mi, has larger consumption of memory. "
    )
    assert marks == {
        "offending_containers": "app",
        "offending_containers_usage": "20Mi",
        "starved_resource": "memory",
    }
    message, marks = victims.message((low,), signals, use("web", {"asked": "30Mi", "memory": "20Mi"}))
    assert message == "The node was low on resource: memory. Threshold quantity: 100Mi, available: 64Mi. "
    low = Threshold(thresholds.NODE_FS, "10%")
    signals = {thresholds.NODE_FS: Amount(5 * MIB, 100 * MIB)}
    message, _ = victims.message((low,), signals, use("web", {"layer": "2Mi", "logs": "1Mi"}))
    assert message == (
        "The node was low on resource: ephemeral-storage. Threshold quantity: 10Mi, available: 5Mi. "
        "Container app was using 3Mi, request is 0, has larger consumption of ephemeral-storage. "
    )


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "app"}], **spec}}


def test_who_may_come() -> None:
    """Under memory pressure nobody of best effort who doesn't tolerate it; under others nobody; critical pods always."""
    memory, disk = ("MemoryPressure",), ("DiskPressure",)
    modest = {"containers": [{"name": "app", "resources": {"requests": {"memory": "1Mi"}}}]}
    tolerant = {"tolerations": [{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]}
    refused = ("Evicted", "The node had condition: [MemoryPressure]. ")
    assert pressure.refusal(pod(), ()) is None
    assert pressure.refusal(pod(), memory) == refused
    assert pressure.refusal(pod(**modest), memory) is None
    assert pressure.refusal(pod(**tolerant), memory) is None
    assert pressure.refusal(pod(priority=2_000_000_000), memory) is None
    assert pressure.refusal(pod(**modest), disk) == ("Evicted", "The node had condition: [DiskPressure]. ")
    both = pressure.refusal(pod(**modest), ("DiskPressure", "MemoryPressure"))
    assert both == ("Evicted", "The node had condition: [DiskPressure MemoryPressure]. ")


def limited(**of: str) -> dict[str, Any]:
    limits = {"limits": {"ephemeral-storage": of["container"]}} if "container" in of else {}
    volumes = [{"name": "data", "emptyDir": {"sizeLimit": of["volume"]} if "volume" in of else {}}]
    return pod(containers=[{"name": "app", "resources": limits}, {"name": "other"}], volumes=volumes)


def test_limits_of_the_disk() -> None:
    """An emptyDir's, the pod's, a container's; none is none."""
    containers = {"app": ContainerUse(layer=Space(3 * MIB), logs=Space(MIB)), "other": ContainerUse()}

    def excess(of: dict[str, Any], **volumes: int) -> Any:
        return storage_limits.excess(PodUse(of, containers, {name: Space(size) for name, size in volumes.items()}))

    assert storage_limits.has_limits(limited(volume="1Mi"))
    assert storage_limits.has_limits(limited(container="1Mi"))
    assert not storage_limits.has_limits(limited())
    assert excess(limited(), data=100 * MIB) is None
    assert excess(limited(volume="1Mi"), data=MIB) is None
    assert excess(limited(volume="1Mi"), data=MIB + 1) == (
        "emptydirfs.limit",
        'Usage of EmptyDir volume "data" exceeds the limit "1Mi". ',
    )
    assert excess(limited(container="5Mi"), data=MIB) is None
    assert excess(limited(container="4Mi"), data=MIB) == (
        "ephemeralpodfs.limit",
        "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ",
    )
    both = limited(container="2Mi")
    both["spec"]["containers"][1]["resources"] = {"limits": {"ephemeral-storage": "10Mi"}}
    assert excess(both) == (
        "ephemeralcontainerfs.limit",
        'Container app exceeded its local ephemeral storage limit "2Mi". ',
    )
    in_memory = pod(volumes=[{"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}])
    assert not storage_limits.has_limits(in_memory)


HEAD = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}


def test_configuration() -> None:
    """Thresholds are read as they are written; nothing said is something else than nothing wanted."""
    assert kubelet_config.parse(HEAD).eviction_hard is None
    assert kubelet_config.parse({**HEAD, "evictionHard": {}}).eviction_hard == {}
    soft = {"evictionSoft": {"nodefs.available": "12.5%"}, "evictionSoftGracePeriod": {"nodefs.available": "1m30s"}}
    found = kubelet_config.parse({**HEAD, **soft, "evictionHard": {"memory.available": "1Gi"}})
    assert found.eviction_hard == {"memory.available": "1Gi"}
    assert (found.eviction_soft, found.eviction_soft_grace_period) == (
        {"nodefs.available": "12.5%"},
        {"nodefs.available": 90.0},
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"evictionHard": {"swap.available": "1Gi"}}, "evictionHard.swap.available: unknown"),
        ({"evictionHard": {"memory.available": "101%"}}, "evictionHard.memory.available: must be a quantity such as"),
        ({"evictionHard": {"memory.available": "-1Gi"}}, "evictionHard.memory.available: must be a quantity"),
        ({"evictionSoft": {"memory.available": "1Gi"}}, "grace period must be specified for the soft eviction"),
        ({"evictionMaxPodGracePeriod": -1}, "evictionMaxPodGracePeriod: must not be negative"),
        ({"imageGCHighThresholdPercent": 80}, "imageGCLowThresholdPercent: must be less than"),
        ({"imageMaximumGCAge": "1m"}, "imageMaximumGCAge: must be 0, or greater than"),
    ],
)
def test_wrong_configuration(given: dict[str, Any], text: str) -> None:
    """What can't be meant so is refused, with where and why."""
    with pytest.raises(KubeletConfigError, match=text):
        kubelet_config.parse({**HEAD, **given})
