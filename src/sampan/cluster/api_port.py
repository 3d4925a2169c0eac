"""The API's port: the one that was asked for, or the first that is free; and another one where that is gone meanwhile."""

import socket
from collections.abc import Callable
from dataclasses import replace

from sampan.cluster import host, port_holders, settings
from sampan.cluster.host import HostError, PortTakenError, Report
from sampan.cluster.settings import Settings

MAX_STARTS = 5
_PORTS = 200


def is_free(address: str, port: int) -> bool:
    """Whether the port can be listened on."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def with_free_port(cluster: Settings, *, asked: bool, report: Callable[[str], None]) -> Settings:
    """The settings with a port that is free. HostError when the one that was asked for is taken."""
    if is_free(cluster.listen, cluster.api_port):
        return cluster
    if not is_free(cluster.listen, 0):
        raise HostError(f"{cluster.listen} is not an address of this host; choose another with --listen")
    bound = "" if asked else _bound(cluster)
    if asked or bound:
        by = port_holders.holder(cluster.listen, cluster.api_port)
        text = f"port {cluster.api_port} on {cluster.listen} is taken by {by}; choose another with --api-port"
        raise HostError(f"{text}; {bound}" if bound else text)
    return _moved(cluster, report)


def start(cluster: Settings, report: Report, *, asked: bool, tell: Callable[[str], None]) -> Settings:
    """Starts the cluster; the settings that it has then. HostError.

    Where somebody takes its port before it listens, it starts with the next one, unless that one was asked for, others
    know it, or something of the cluster goes on.
    """
    for _ in range(MAX_STARTS - 1):
        try:
            host.start(cluster, report)
        except PortTakenError as error:
            if asked:
                raise
            if bound := _bound(cluster):
                raise PortTakenError(f"{error}; {bound}") from error
            if host.runs(cluster):
                raise
            cluster = _moved(cluster, tell)
        else:
            return cluster
    host.start(cluster, report)
    return cluster


def _bound(cluster: Settings) -> str:
    """Who knows the API by its port, so that it can't move by itself; "" where nobody does. HostError."""
    if ran := [name for name in cluster.node_names() if host.node_agent(cluster, name).pid]:
        return f"nodes that run ({', '.join(ran)}) know the API by this one, and have to end before: sampan down"
    known = settings.load(cluster.directory)
    if known is None or not known.node_ip:
        return ""
    from sampan.cluster import guests
    from sampan.store.protocol import StoreError

    try:
        found = guests.names(known)
    except StoreError as error:
        raise HostError(
            f"port {cluster.api_port} is taken, and whether other machines, which would know {known.name} by it, are "
            f"nodes of it can't be found out: {error}"
        ) from error
    if not found:
        return ""
    return f"other machines ({', '.join(found)}) know the API by this one, and with another they have to join anew"


def _moved(cluster: Settings, report: Callable[[str], None]) -> Settings:
    """The settings with the next free port."""
    for port in range(cluster.api_port + 1, min(cluster.api_port + _PORTS, 65536)):
        if is_free(cluster.listen, port):
            report(f"port {cluster.api_port} is taken: the API moves to port {port}")
            return replace(cluster, api_port=port)
    raise HostError(f"no free port from {cluster.api_port} on; choose one with --api-port")
