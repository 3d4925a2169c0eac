"""The node agents' configuration files, and where their images are.

The agent reads one JSON file: what it needs to know of the cluster, and nothing else.
"""

import contextlib
import importlib.util
import os
from pathlib import Path

import orjson

from sampan.cluster import log_format, pki
from sampan.cluster.settings import Settings


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


def check_kubelet_files(cluster: Settings) -> None:
    """Raises AgentConfigError when an agent would refuse a file that counts for it (as far as it can be read)."""
    if files := [name for name in credential_provider_files(cluster) if os.access(name, os.R_OK)]:
        from sampan.node.kubelet_fields import KubeletConfigError
        from sampan.node.registry import credential_plugins

        try:
            credential_plugins.load(files)
        except KubeletConfigError as error:
            raise AgentConfigError(str(error)) from error
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
    pair = {"certificate": f"{pki.node(node)}.crt", "key": f"{pki.node(node)}.key"}
    config = {
        "cluster": cluster.name,
        "node": node,
        "server": cluster.server_url,
        "ca": str(keys / f"{pki.AUTHORITY}.crt"),
        "client_ca": str(keys / f"{pki.AUTHORITY}.crt"),
        **{name: str(keys / file) for name, file in pair.items()},
        **{f"serving_{name}": str(keys / file) for name, file in pair.items()},
        "root": str(cluster.path(f"node-{node}")),
        "images": str(image_directory(cluster)),
        "registries": registry_files(cluster),
        "kubelet": kubelet_files(cluster, node),
        "runtimes": runtime_files(cluster),
        "credential_providers": credential_provider_files(cluster),
        "runtime": cluster.runtime,
        "ready_file": str(ready_file(cluster, node)),
        "internal_ip": cluster.gateway(number) if cluster.runtime != "simulated" else "127.0.0.1",
        "port": 10250 if cluster.runtime != "simulated" else 0,
        "dns_ip": cluster.dns_service_ip,
        "network": {
            "bridge": f"sampan{cluster.index}n{number}",
            "pod_cidr": cluster.node_pod_cidr(number),
            "cluster_pod_cidr": cluster.pod_cidr,
            "service_cidr": cluster.service_cidr,
            "table": f"sampan-{cluster.index}-{number}",
        },
    }
    path = config_path(cluster, node)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
    return path
