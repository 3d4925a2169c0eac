"""What `sampan up --dry-run` prints: every change to this host that a start would make."""

import os

from sampan.cluster import agents, container_runtime, doctor
from sampan.cluster.settings import Settings


def show(cluster: Settings) -> int:
    """Prints it."""
    print(f"would start cluster {cluster.name} in {cluster.directory}:")
    if missing := _missing(cluster):
        print(f"  but first, what is missing here: {doctor.install_command(missing)}")
    if cluster.rootless:
        print(
            "  a sandbox: a user namespace with the ids that /etc/subuid and /etc/subgid grant, mounts and a network of"
        )
        print(
            "    its own, and slirp4netns as its way to the world; all else but the API's port is in it, not on this host"
        )
    print(f"  a control plane process, serving {cluster.server_url}")
    if cluster.has_lan:
        print(f"  between the nodes, {_way(cluster)}:")
        print(
            f"    bridge {cluster.lan_link} with {cluster.api_address}, where the API is served too; {' and '.join(cluster.ip_families.split(','))} forwarding on"
        )
        print(
            f"    nftables table {agents.lan_table(cluster)}, which hides {cluster.lan_cidr} behind {'it' if cluster.rootless else 'this host'}"
        )
        print("    routes to pods by their nodes, to services by the first")
    for number, name in enumerate(cluster.node_names()):
        if cluster.runtime == "simulated":
            print(f"  node {name}, simulated: no change to this host")
        else:
            _show_node(cluster, number)
    print(f"  context {cluster.context} in {cluster.kubeconfig}")
    print("`sampan down` takes all of it back")
    return 0


def _show_node(cluster: Settings, number: int) -> None:
    print(f"  node {cluster.node_names()[number]}, {_way(cluster)}:")
    forwarding = f"; {' and '.join(cluster.ip_families.split(','))} forwarding on"
    if cluster.has_lan:
        print(f"    network namespace {cluster.namespace(number)} with {cluster.internal_ip(number)}, and in it:")
        forwarding = ""
    link = f"sampan{cluster.index}n{number}"
    print(f"    bridge {link} with {cluster.gateway(number)}; pods in {' and '.join(cluster.node_pod_cidrs(number))}")
    print(
        f"    nftables table sampan-{cluster.index}-{number}; route to {' and '.join(cluster.service_cidrs)}{forwarding}"
    )
    if cluster.overlay == "vxlan":
        print(f"    tunnel sampan{cluster.index}vx to other machines, over UDP port 8472 of {cluster.node_ip}")
    cgroups = "" if cluster.rootless else f"cgroups {agents.cgroup(cluster, number)}; "
    print(f"    {cgroups}overlay mounts and network namespaces below {cluster.directory}")
    if container_runtime.is_cri(cluster):
        print(f"    containers in {cluster.runtime}, with a CNI configuration and plugin of sampan's in its folders")


def _missing(cluster: Settings) -> list[doctor.Part]:
    if not cluster.nodes or cluster.runtime == "simulated":
        return []
    found = doctor.missing_parts(container_runtime.parts(cluster))
    if not cluster.rootless:
        return found
    from sampan.cluster import sandbox_checks

    return [*found, *sandbox_checks.missing()]


def _way(cluster: Settings) -> str:
    if cluster.rootless:
        return "in the sandbox, without root"
    return "as root" if os.geteuid() == 0 else "as root through sudo"
