"""Expiry: which of this machine's nodes the API no longer knows, since their certificates have ended, and the mend."""

from sampan.cluster import key_files
from sampan.cluster.settings import DEFAULT_NAME, Settings
from sampan.meta import timestamps
from sampan.web import certificates


def nodes(cluster: Settings, now: float) -> dict[str, str]:
    """Those whose client certificate has ended, each with one line that tells so."""
    ends = {name: _end(cluster, name) for name in cluster.node_names()}
    return {
        name: f"the certificate of node {name} expired on {timestamps.format(end)}: {mend(cluster)}"
        for name, end in ends.items()
        if 0 < end <= now
    }


def mend(cluster: Settings) -> str:
    """What helps: the API's own machine makes new ones, another machine has to be let in anew; it keeps its data."""
    if cluster.joined_to:
        remove = f"sampan node remove {cluster.joined_as}, sampan node token"
        return f"on the cluster's machine: {remove}; then here the line that it prints, with --name {cluster.joined_as}"
    named = "" if cluster.name == DEFAULT_NAME else f" --name {cluster.name}"
    return f"sampan up{named}"


def _end(cluster: Settings, name: str) -> float:
    """Unix seconds; 0 where there is none yet, or none that can be read."""
    try:
        return certificates.lifetime(cluster.path("pki", f"{key_files.node(name)}.crt").read_bytes())[1]
    except (OSError, ValueError):
        return 0.0
