"""What of the host a pod is refused."""

import pytest

from sampan.node import host_rules


def pod(*sysctls, ports=(), **spec):
    context = {"sysctls": [{"name": name, "value": "1"} for name in sysctls]}
    return {"spec": {"containers": [{"name": "c", "ports": list(ports)}], "securityContext": context, **spec}}


def test_safe_settings_are_granted():
    """Also with slashes, as the kernel's files have them."""
    assert host_rules.forbidden_sysctl(pod("kernel.shm_rmid_forced", "net/ipv4/tcp_rmem")) is None
    assert host_rules.forbidden_sysctl({"spec": {"containers": []}}) is None


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (pod("kernel.shm_rmid_forced", "kernel.msgmax"), '"kernel.msgmax" not allowlisted'),
        (pod("net.core.somaxconn"), '"net.core.somaxconn" not allowlisted'),
        (pod("net.ipv4.tcp_wmem", hostNetwork=True), '"net.ipv4.tcp_wmem" not allowed with host Net enabled'),
        (pod("kernel.shm_rmid_forced", hostIPC=True), '"kernel.shm_rmid_forced" not allowed with host IPC enabled'),
    ],
)
def test_other_settings_are_refused(asked, why):
    """Those that reach beyond the pod, and safe ones where the pod shares the host's namespace."""
    assert host_rules.forbidden_sysctl(asked) == ("SysctlForbidden", f"forbidden sysctl: {why}")


def test_settings_that_the_node_allows():
    """By name or by what it begins with; only such as a namespace keeps, and never the host's."""
    allowed = ("kernel/msg*", "net.core.somaxconn", "vm.*")
    assert host_rules.forbidden_sysctl(pod("kernel.msgmax", "net.core.somaxconn"), allowed) is None
    for asked, why in (
        (pod("net.core.rmem_max"), '"net.core.rmem_max" not allowlisted'),
        (pod("vm.swappiness"), '"vm.swappiness" not allowlisted'),
        (pod("kernel.msgmax", hostIPC=True), '"kernel.msgmax" not allowed with host IPC enabled'),
    ):
        assert host_rules.forbidden_sysctl(asked, allowed) == ("SysctlForbidden", f"forbidden sysctl: {why}")


@pytest.mark.parametrize(
    ("first", "second", "is_free"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {"hostPort": 81}, True),
        ({"hostPort": 80, "protocol": "UDP"}, {"hostPort": 80}, True),
        ({"hostPort": 80, "hostIP": "127.0.0.1"}, {"hostPort": 80, "hostIP": "127.0.0.2"}, True),
        ({"hostPort": 80, "hostIP": "127.0.0.1"}, {"hostPort": 80, "hostIP": "0.0.0.0"}, False),
        ({"containerPort": 80}, {"containerPort": 80}, True),
    ],
)
def test_a_port_of_the_host_is_one_pods(first, second, is_free):
    """By address, protocol and number; ports of containers are their own."""
    refused = host_rules.taken_port(pod(ports=[first]), [pod(), pod(ports=[second])])
    assert (refused is None) is is_free
    if refused is not None:
        assert refused[0] == "NodePorts"
