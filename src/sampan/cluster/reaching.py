"""Reaching: which API server a command of a joined machine talks to, where the cluster has several.

Its kubeconfig has a context for each: `joined` for the one that it joined by, `joined-2` and so on for the others that
the cluster told of: when the machine joined or was started, and its agent each time that one has come or gone. The first
that is ready is used.
"""

import contextlib
import os
import re
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from sampan.client import http, servers
from sampan.client.api import Client
from sampan.client.kubeconfig import Access, load
from sampan.cluster import key_files
from sampan.cluster.settings import Settings
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kit import files

CONTEXT = "joined"
ANSWER_SECONDS = 3.0
_NUMBERED = re.compile(rf"{CONTEXT}-[1-9][0-9]*")
_ASKED = b"GET /readyz HTTP/1.1\r\nHost: kubernetes\r\nConnection: close\r\n\r\n"


def access(kubeconfig: Path) -> Access:
    """What the current context stands for; in a joined machine's own file, by a server that is ready, if one is.

    Raises what `load` does.
    """
    first = load(kubeconfig)
    found = [first, *(load(kubeconfig, name) for name in _others(kubeconfig))]
    return next((each for each in found if is_ready(each)), first) if len(found) > 1 else first


def is_ready(asked: Access) -> bool:
    """Whether the server says so, within seconds, to who has this certificate; or that it tells us nothing about that."""
    place = urlsplit(asked.server)
    host, port = place.hostname or "", place.port or 443
    try:
        context = http.tls(asked)
        with (
            socket.create_connection((host, port), ANSWER_SECONDS) as made,
            context.wrap_socket(made, server_hostname=asked.server_name or host) as wrapped,
        ):
            wrapped.sendall(_ASKED)
            return wrapped.recv(16).startswith((b"HTTP/1.1 200", b"HTTP/1.1 403"))
    except (OSError, ValueError):
        return False


async def ask_servers(api: Client, cluster: Settings) -> tuple[str, ...]:
    """The URLs of all API servers of the cluster, as it tells them; ApiError, TransportError."""
    slices = (await api.list(ENDPOINTSLICE, servers.NAMESPACE)).items
    return tuple(servers.url(cluster.joined_to, "", *server) for server in servers.listed(slices))


def note(cluster: Settings, found: Iterable[str]) -> None:
    """The cluster told of these; of none at all, it is not believed. Raises OSError."""
    if known := servers.order(found, "", cluster.joined_as):
        write_kubeconfig(cluster, known)


def write_kubeconfig(cluster: Settings, others: Iterable[str] = ()) -> None:
    """DIR/kubeconfig, by which this machine looks at the cluster as the node that it is, also by other servers."""
    keys, node = cluster.path("pki"), cluster.joined_as
    user = {
        "client-certificate": str(keys / f"{key_files.node(node)}.crt"),
        "client-key": str(keys / f"{key_files.node(node)}.key"),
    }
    authority = {"certificate-authority": str(keys / f"{key_files.AUTHORITY}.crt")}
    places: list[dict[str, Any]] = [
        {"server": cluster.joined_to, **authority},
        *({"server": s, "tls-server-name": servers.CERTIFIED, **authority} for s in others if s != cluster.joined_to),
    ]
    names = [CONTEXT, *(f"{CONTEXT}-{number}" for number in range(2, len(places) + 1))]
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": place} for name, place in zip(names, places, strict=True)],
        "users": [{"name": node, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": node}} for name in names],
        "current-context": CONTEXT,
    }
    text = yaml.safe_dump(document).encode()
    path = cluster.path("kubeconfig")
    with contextlib.suppress(OSError):
        if path.read_bytes() == text:
            return
    files.write_whole(path, text, 0o644)
    with contextlib.suppress(OSError):  # root's agent writes it too, into what may be another user's folder
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid, follow_symlinks=False)


def _others(kubeconfig: Path) -> Sequence[str]:
    """The further contexts of a joined machine's own file: as `write_kubeconfig` makes them, all as the same user."""
    document = yaml.safe_load(kubeconfig.read_text())
    contexts, clusters = _named(document, "context"), _named(document, "cluster")
    own, authority = contexts.get(CONTEXT), _authority(clusters.get(CONTEXT, {}))
    if own is None or document.get("current-context") != CONTEXT or not authority:
        return ()

    def is_ours(name: str) -> bool:
        place = clusters.get(name, {})
        is_same = contexts[name] == {**own, "cluster": name} and _authority(place) == authority
        is_server = servers.is_url(place.get("server")) and place.get("tls-server-name") == servers.CERTIFIED
        return bool(_NUMBERED.fullmatch(name)) and is_same and is_server

    return [name for name in contexts if is_ours(name)][: servers.MOST]


def _named(document: Any, field: str) -> dict[str, dict[str, Any]]:
    """A kubeconfig's contexts or clusters, without what is none."""
    entries = document.get(f"{field}s") if isinstance(document, dict) else None
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return {str(entry.get("name")): entry[field] for entry in found if isinstance(entry.get(field), dict)}


def _authority(place: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in place.items() if key.startswith("certificate-authority")}
