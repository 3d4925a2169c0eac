"""The node agents' configuration files, and where their images are.

The agent reads one JSON file: what it needs to know of the cluster, and nothing else.
"""

import contextlib
import importlib.util
import ipaddress
import os
from pathlib import Path
from typing import Any

import orjson

from sampan.cluster import addresses, key_files, log_format, sandbox
from sampan.cluster.settings import Settings

CNI_PROGRAMS = ("/opt/cni/bin", "/usr/lib/cni")
LEASE_SHARE = 0.8
"""A node that may be silent for 50 s has a lease of 40 s, as upstream has it."""


class AgentConfigError(Exception):
    """A file that cannot be used: where and why."""


def image_directory(cluster: Settings) -> Path:
    """The cluster's images, shared by all its nodes on this host."""
    return cluster.path("images")


def registry_files(cluster: Settings) -> list[str]:
    """The files that may say where images come from; the first that is there counts."""
    return [str(cluster.path("registries.yaml")), "/etc/sampan/registries.yaml"]


def kubelet_files(cluster: Settings, node: str) -> list[str]:
    """The files that may say how the node's agent behaves (KubeletConfiguration); the first that is there counts."""
    own = [str(cluster.path(name)) for name in (f"kubelet-{node}.yaml", "kubelet.yaml")]
    return [*own, "/etc/sampan/kubelet.yaml"]


def credential_provider_files(cluster: Settings) -> list[str]:
    """The files that may name programs which give credentials for images; the first that is there counts."""
    return [str(cluster.path("credential-providers.yaml")), "/etc/sampan/credential-providers.yaml"]


def runtime_files(cluster: Settings) -> list[str]:
    """The files that may name further runtimes for RuntimeClasses; the first that is there counts."""
    return [str(cluster.path("runtimes.yaml")), "/etc/sampan/runtimes.yaml"]


def cni_folders(cluster: Settings) -> list[str]:
    """The folders that may say which CNI plugins make pods' networks; the first that has a file counts."""
    return [str(cluster.path("cni")), "/etc/sampan/cni"]


def check_kubelet_files(cluster: Settings) -> None:
    """Raises AgentConfigError when an agent would refuse a file that counts for it (as far as it can be read)."""
    if files := [name for name in credential_provider_files(cluster) if os.access(name, os.R_OK)]:
        from sampan.node.kubelet_fields import KubeletConfigError
        from sampan.node.registry import credential_plugins

        try:
            credential_plugins.load(files)
        except KubeletConfigError as error:
            raise AgentConfigError(str(error)) from error
    _check_cni(cluster)
    for node in cluster.node_names():
        if files := [name for name in kubelet_files(cluster, node) if os.access(name, os.R_OK)]:
            from sampan.node import kubelet_config, shutdown_order
            from sampan.node.kubelet_fields import KubeletConfigError

            try:
                config = kubelet_config.load(files)
            except KubeletConfigError as error:
                raise AgentConfigError(str(error)) from error
            if shutdown_order.steps(config) and importlib.util.find_spec("jeepney") is None:
                raise AgentConfigError(f"{files[0]}: shutdownGracePeriod needs jeepney: pip install 'sampan[systemd]'")


def _check_cni(cluster: Settings) -> None:
    """Raises AgentConfigError."""
    from sampan.node.network.cni import configuration

    path = configuration.find(tuple(cni_folders(cluster)))
    if path is None or not os.access(path, os.R_OK):
        return
    try:
        configuration.load(path)
    except configuration.CniError as error:
        raise AgentConfigError(str(error)) from error


def used_images(cluster: Settings) -> set[str]:
    """The images that containers of this cluster are made of, also of those that ended and may start again."""
    used = set()
    for record in cluster.directory.glob("node-*/containers/c/*/record.json"):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            used.add(str(orjson.loads(record.read_bytes())["state"]["image_id"]))
    return used


def has_image(cluster: Settings, reference: str) -> bool:
    """Whether the image is loaded (as far as the invoking user can see)."""
    from sampan.node.images.store import ImageStore

    try:
        return ImageStore(image_directory(cluster)).resolve(reference) is not None
    except OSError:
        return False


def ready_file(cluster: Settings, node: str) -> Path:
    """What an agent makes when its node is Ready."""
    return cluster.path("run", f"node-{node}.ready")


def config_path(cluster: Settings, node: str) -> Path:
    return cluster.path("run", f"node-{node}.json")


def arguments(cluster: Settings, config: Path) -> list[str]:
    """What every process of the agent with this configuration is told."""
    form = [] if cluster.log_format == log_format.TEXT else ["--log-format", cluster.log_format]
    return ["--config", str(config), *form]


def write_config(cluster: Settings, number: int) -> Path:
    """Writes the configuration of the node with this number (from 0); returns the file."""
    node = cluster.node_names()[number]
    keys = cluster.path("pki")
    config: dict[str, Any] = {
        "cluster": cluster.name,
        "node": node,
        "server": cluster.server_url,
        "api_address": "" if cluster.joined_to else cluster.api_address,
        "ca": str(keys / f"{key_files.AUTHORITY}.crt"),
        "client_ca": str(keys / f"{key_files.AUTHORITY}.crt"),
        "certificate": str(keys / f"{key_files.node(node)}.crt"),
        "key": str(keys / f"{key_files.node(node)}.key"),
        "serving_certificate": str(keys / f"{key_files.node_serving(node)}.crt"),
        "serving_key": str(keys / f"{key_files.node_serving(node)}.key"),
        "root": str(cluster.path(f"node-{node}")),
        "images": str(image_directory(cluster)),
        "registries": registry_files(cluster),
        "kubelet": kubelet_files(cluster, node),
        "runtimes": runtime_files(cluster),
        "credential_providers": credential_provider_files(cluster),
        "cni": cni_folders(cluster),
        "cni_programs": [str(cluster.path("cni", "bin")), *CNI_PROGRAMS],
        "runtime": cluster.runtime,
        "ready_file": str(ready_file(cluster, node)),
        "internal_ip": cluster.internal_ip(number) if cluster.runtime != "simulated" else "127.0.0.1",
        "internal_ip6": cluster.internal_ip6(number) if cluster.runtime != "simulated" else "",
        "port": 10250 if cluster.runtime != "simulated" else 0,
        "dns_ip": cluster.dns_service_ip,
        "network": _network(cluster, number),
        "cgroup": cgroup(cluster, number),
        "lease_seconds": max(int(cluster.node_grace_seconds * LEASE_SHARE), 1),
    }
    if cluster.rootless:
        config |= {"server": f"https://127.0.0.1:{cluster.api_port}", "upstreams": [sandbox.RESOLVER]}
        config["sandbox_ports"] = str(cluster.path("run", sandbox.PORTS)) if not cluster.has_lan else ""
    if cluster.has_lan:
        config["server"] = f"https://{cluster.api_address}:{cluster.api_port}"
        config["lan"] = lan(cluster, number)
    path = config_path(cluster, node)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
    if cluster.runtime == "simulated":
        Path(config["root"]).mkdir(exist_ok=True, mode=0o700)  # real ones are root's to make
    return path


def cgroup(cluster: Settings, number: int) -> str:
    """What the cgroups of the node's pods are below."""
    return f"sampan-{cluster.name}.{number}" if cluster.has_lan else f"sampan-{cluster.name}"


def lan_table(cluster: Settings) -> str:
    """The host's nftables table for what is between the nodes."""
    return f"sampan-{cluster.index}-lan"


def _network(cluster: Settings, number: int) -> dict[str, Any]:
    """What the node's pods and services need; see NetworkSettings."""
    mark = cluster.joined_number + number
    network: dict[str, Any] = {
        "bridge": f"sampan{cluster.index}n{mark}",
        "pod_cidr": cluster.node_pod_cidr(number),
        "cluster_pod_cidr": cluster.pod_cidr,
        "service_cidr": cluster.service_cidr,
        "load_balancer_cidr": cluster.load_balancer_cidr,
        "table": f"sampan-{cluster.index}-{mark}",
    }
    if cluster.is_dual_stack:
        network["pod_cidr6"] = cluster.node_pod_cidrs(number)[1]
        network |= {"cluster_pod_cidr6": cluster.pod_cidrs[1], "service_cidr6": cluster.service_cidrs[1]}
    if cluster.node_ip and cluster.runtime != "simulated":
        from sampan.node.network import overlay

        own = {"node_ip": cluster.node_ip, "overlay": cluster.overlay, "uplink": addresses.link_of(cluster.node_ip)}
        if cluster.listen == "0.0.0.0":
            network["node_port_addresses"] = ["0.0.0.0/0"]
        return {**network, **own, "vni": overlay.FIRST_VNI + cluster.index}
    if cluster.rootless and not cluster.has_lan:
        from sampan.node.network import sandbox_ports

        network["node_port_addresses"] = [cluster.gateway(number), "127.0.0.0/8", sandbox_ports.ADDRESS]
    if not cluster.has_lan:
        return network
    return {
        **network,
        "node_ip": cluster.internal_ip(number),
        "node_ip6": cluster.internal_ip6(number),
        "uplink": "eth0",
        "overlay": "direct",
        "reachable_from": [cidr for cidr in (cluster.lan_cidr, cluster.lan_cidr6) if cidr],
        "run_dir": str(cluster.path(f"node-{cluster.node_names()[number]}", "network", "run")),
    }


def lan(cluster: Settings, number: int) -> dict[str, Any]:
    """The node's place among those of this host; see Lan."""
    entries = (*cluster.service_cidrs, *cluster.load_balancer_cidr.split(",")) if number == 0 else ()
    return {
        "link": cluster.lan_link,
        "number": number,
        "gateway": cluster.api_address,
        "address": cluster.internal_ip(number),
        "prefix_length": ipaddress.ip_network(cluster.lan_cidr).prefixlen,
        "network6": cluster.lan_cidr6,
        "address6": cluster.internal_ip6(number),
        "pod_cidrs": cluster.node_pod_cidrs(number),
        "cluster_cidrs": cluster.pod_cidrs,
        "entry_cidrs": [cidr for cidr in entries if cidr],
        "entry": cluster.internal_ip(0),
        "listen": cluster.listen,
        "table": lan_table(cluster),
        "owner": f"{cluster.name}/{cluster.node_names()[number]}",
        "namespace": str(cluster.namespace(number)),
    }
