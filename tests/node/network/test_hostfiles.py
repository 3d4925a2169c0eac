"""What a pod reads in /etc."""

from pathlib import Path

import pytest

from sampan.node.network import hostfiles

POD = {"metadata": {"name": "web-0", "namespace": "shop"}, "spec": {}}
HOST = "# comment\nnameserver 192.0.2.53\nsearch corp.example.\noptions edns0 ndots:1\n"


def pod(**spec: object) -> dict[str, object]:
    return {**POD, "spec": spec}


def test_cluster_first_asks_the_cluster() -> None:
    """With the namespace's search list, then the host's."""
    assert hostfiles.resolv_conf(pod(), "10.96.0.10", "cluster.local", HOST) == (
        "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example\n"
        "nameserver 10.96.0.10\noptions ndots:5\n"
    )


def test_policies_and_config() -> None:
    """Default is the host's; None only what dnsConfig says; dnsConfig replaces options by name."""
    host = "search corp.example\nnameserver 192.0.2.53\noptions edns0 ndots:1\n"
    assert hostfiles.resolv_conf(pod(dnsPolicy="Default"), "10.96.0.10", "cluster.local", HOST) == host
    assert hostfiles.resolv_conf(pod(hostNetwork=True), "10.96.0.10", "cluster.local", HOST) == host
    own = {
        "nameservers": ["192.0.2.1"],
        "searches": ["x"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}],
    }
    assert hostfiles.resolv_conf(pod(dnsPolicy="None", dnsConfig=own), "10.96.0.10", "cluster.local", HOST) == (
        "search x\nnameserver 192.0.2.1\noptions ndots:2 rotate\n"
    )
    both = hostfiles.resolv_conf(pod(dnsConfig=own), "10.96.0.10", "cluster.local", "")
    assert both.endswith("nameserver 10.96.0.10\nnameserver 192.0.2.1\noptions ndots:2 rotate\n")


def test_hosts() -> None:
    """The pod's own name, with its domain if it has one, and the aliases."""
    text = hostfiles.hosts(
        pod(hostname="db", subdomain="dbs", hostAliases=[{"ip": "192.0.2.7", "hostnames": ["a", "b"]}]),
        ["10.244.0.5"],
        "cluster.local",
    )
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert text.endswith(
        "10.244.0.5\tdb.dbs.shop.svc.cluster.local\tdb\n\n# Entries added by HostAliases.\n192.0.2.7\ta\tb\n"
    )
    shared = hostfiles.hosts(pod(hostNetwork=True), ["192.0.2.2"], "cluster.local", host_file="127.0.0.1 localhost\n")
    assert shared == "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n"


def test_long_names_are_cut() -> None:
    """The kernel takes 63 characters; the cut leaves no dash at the end."""
    assert hostfiles.hostname({"metadata": {"name": "a" * 62 + "-b"}, "spec": {}}) == "a" * 62


def test_the_name_that_processes_see() -> None:
    """The short one, the full one where that is asked for, or an own one; the kernel takes 64 characters."""
    assert hostfiles.kernel_name(pod(subdomain="sub"), "cluster.local") == hostfiles.hostname(pod())
    full = hostfiles.kernel_name(pod(subdomain="sub", setHostnameAsFQDN=True), "cluster.local")
    assert full == f"{hostfiles.hostname(pod())}.sub.{pod()['metadata']['namespace']}.svc.cluster.local"
    assert hostfiles.kernel_name(pod(setHostnameAsFQDN=True), "cluster.local") == hostfiles.hostname(pod())
    assert hostfiles.kernel_name(pod(hostnameOverride="own.name"), "cluster.local") == "own.name"
    with pytest.raises(ValueError, match=r"is too long \(64 characters is the max, \d+ characters requested\)"):
        hostfiles.kernel_name(pod(subdomain="s" * 50, setHostnameAsFQDN=True), "cluster.local")


def test_the_host_s_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    """Also when they come and go."""
    file = tmp_path / "resolv.conf"
    assert not hostfiles.host_text(str(file))
    for text in ("nameserver 192.0.2.1\n", "nameserver 192.0.2.10\n"):
        file.write_text(text)
        assert [hostfiles.host_text(str(file)) for _ in range(2)] == [text, text]
    file.unlink()
    assert not hostfiles.host_text(str(file))
