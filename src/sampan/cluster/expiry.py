"""Expiry: which of this machine's nodes the API no longer knows, or that no longer know the API, and the mend.

Their own certificate has ended, or on a machine that joined that of the authority, which was prolonged while it was away.
"""

from sampan.cluster import key_files
from sampan.cluster.settings import DEFAULT_NAME, Settings
from sampan.meta import timestamps
from sampan.web import certificates


def nodes(cluster: Settings, now: float) -> dict[str, str]:
    """Those for which one of these certificates has ended, each with one line that tells so."""
    found = {}
    if cluster.joined_to and 0 < (end := _end(cluster, key_files.AUTHORITY)) <= now:
        text = f"node {cluster.joined_as}'s copy of the authority's certificate expired on {timestamps.format(end)}"
        found[cluster.joined_as] = f"{text}: {mend(cluster)}"
    for name in cluster.node_names():
        if 0 < (end := _end(cluster, key_files.node(name))) <= now:
            found[name] = f"the certificate of node {name} expired on {timestamps.format(end)}: {mend(cluster)}"
    return found


def mend(cluster: Settings) -> str:
    """What helps: the API's own machine makes new ones, another machine has to be let in anew; it keeps its data."""
    if cluster.joined_to:
        remove = f"sampan node remove {cluster.joined_as}, sampan node token"
        return f"on the cluster's machine: {remove}; then here the line that it prints, with --name {cluster.joined_as}"
    named = "" if cluster.name == DEFAULT_NAME else f" --name {cluster.name}"
    return f"sampan up{named}"


def _end(cluster: Settings, file: str) -> float:
    """Unix seconds; 0 where there is none yet, or none that can be read."""
    try:
        return certificates.last_end(cluster.path("pki", f"{file}.crt").read_bytes())
    except (OSError, ValueError):
        return 0.0
