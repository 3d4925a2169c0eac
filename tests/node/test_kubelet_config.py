"""The kubelet's configuration file: what is honoured, and that nothing else is taken for granted."""

import json
from pathlib import Path
from typing import Any

import pytest

from sampan.node import kubelet_config, node_object, simulated
from sampan.node.kubelet_config import CrashLoopBackOff, KubeletConfig, PriorityShutdown
from sampan.node.kubelet_fields import KubeletConfigError
from sampan.node.parts import AgentSettings

HEAD = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}


def test_defaults_are_upstreams() -> None:
    """A file that says nothing is as none, and null is nothing said."""
    assert kubelet_config.parse({**HEAD, "maxPods": None}) == KubeletConfig() == kubelet_config.load([])
    assert (KubeletConfig().max_pods, KubeletConfig().pod_pids_limit) == (110, -1)


def test_every_field_is_read() -> None:
    """Durations in seconds, sizes in bytes, parts with fields of their own."""
    found = kubelet_config.parse(
        {
            **HEAD,
            "maxPods": 20,
            "allowedUnsafeSysctls": ["kernel.msg*"],
            "registerWithTaints": [{"key": "a", "effect": "NoSchedule"}],
            "systemReserved": {"cpu": 0.5, "memory": "1Gi"},
            "nodeStatusUpdateFrequency": "1m30s",
            "containerLogMaxSize": "5Mi",
            "crashLoopBackOff": {"maxContainerRestartPeriod": "4s"},
            "shutdownGracePeriodByPodPriority": [{"priority": 1000, "shutdownGracePeriodSeconds": 5}],
        }
    )
    assert found == KubeletConfig(
        max_pods=20,
        allowed_unsafe_sysctls=("kernel.msg*",),
        register_with_taints=({"key": "a", "effect": "NoSchedule"},),
        system_reserved={"cpu": "0.5", "memory": "1Gi"},
        node_status_update_frequency=90.0,
        container_log_max_size=5 << 20,
        crash_loop_back_off=CrashLoopBackOff(4.0),
        shutdown_grace_period_by_pod_priority=(PriorityShutdown(1000, 5),),
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "Kubelet"}, "kind: must be KubeletConfiguration, not 'Kubelet'"),
        ({"maxPod": 3}, "maxPod: unknown, or not honoured by this node; known are allowedUnsafeSysctls, "),
        (
            {"crashLoopBackOff": {"max": "1s"}},
            "crashLoopBackOff.max: unknown, or not honoured by this node; known are max",
        ),
        ({"systemReserved": {"gpu": 1}}, "systemReserved.gpu: unknown"),
        (
            {"imagePullCredentialsVerificationPolicy": "Never"},
            "imagePullCredentialsVerificationPolicy: must be one of AlwaysVerify, NeverVerify, ",
        ),
        ({"preloadedImagesVerificationAllowlist": ["a"]}, "preloadedImagesVerificationAllowlist: only for the policy "),
        (
            {
                "imagePullCredentialsVerificationPolicy": "NeverVerifyAllowlistedImages",
                "preloadedImagesVerificationAllowlist": ["a:v1"],
            },
            "preloadedImagesVerificationAllowlist: must be image names without tag",
        ),
        ({"systemReserved": {"cpu": "1x"}}, "systemReserved.cpu: quantities must match"),
        ({"maxPods": "3"}, "maxPods: must be a whole number, not '3'"),
        ({"maxPods": True}, "maxPods: must be a whole number, not True"),
        ({"maxPods": -3}, "maxPods: must not be negative"),
        (
            {"registerWithTaints": [{"key": "a", "effect": "No"}]},
            "registerWithTaints[0].effect: must be one of NoSchedule",
        ),
        (
            {"fileCheckFrequency": 20},
            "fileCheckFrequency: must be a duration such as 30s or 1m30s, not below zero, not 20",
        ),
        ({"fileCheckFrequency": "20"}, 'fileCheckFrequency: time: missing unit in duration "20"'),
        ({"shutdownGracePeriod": "500ms"}, "shutdownGracePeriod: must be 0, or at least 1s"),
        ({"shutdownGracePeriodCriticalPods": "5s"}, "shutdownGracePeriodCriticalPods: must not be greater"),
        ({"crashLoopBackOff": {"maxContainerRestartPeriod": "6m"}}, "must be between 1s and 300s"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(change: dict[str, Any], why: str) -> None:
    """Also what would mean nothing here, so that nobody relies on it."""
    with pytest.raises(KubeletConfigError) as error:
        kubelet_config.parse({**HEAD, **change})
    assert why in str(error.value)


def test_the_first_file_counts(tmp_path: Path) -> None:
    """YAML or JSON; a mistake names the file."""
    first, second = tmp_path / "a", tmp_path / "b"
    second.write_text(json.dumps({**HEAD, "maxPods": 7}))
    assert kubelet_config.load([str(first), str(second)]).max_pods == 7
    first.write_text("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 8\n")
    assert kubelet_config.load([str(first), str(second)]).max_pods == 8
    for broken in ("maxPods: 8", "a: [", "- 1"):
        first.write_text(broken)
        with pytest.raises(KubeletConfigError, match=f"^{first}: "):
            kubelet_config.load([str(first), str(second)])


def test_what_is_reserved_is_not_for_pods(tmp_path: Path) -> None:
    """Capacity is what there is, allocatable what is left; never less than nothing."""
    reserved = {"cpu": "500m", "memory": "1Ki"}
    kubelet = KubeletConfig(system_reserved=reserved, kube_reserved={"cpu": "1", "ephemeral-storage": "1000Ti"})
    settings = AgentSettings("c", "n", tmp_path, "10.0.0.1", kubelet=kubelet, is_simulated=True)
    whole, left = node_object.capacity(settings, simulated.FACTS), node_object.allocatable(settings, simulated.FACTS)
    assert left["cpu"] == f"{simulated.FACTS.cpus * 1000 - 1500}m"
    assert left["memory"] == f"{simulated.FACTS.memory_bytes // 1024 - 1}Ki"
    assert left["ephemeral-storage"] == "0"
    assert (whole["cpu"], whole["pods"]) == (str(simulated.FACTS.cpus), "110")
