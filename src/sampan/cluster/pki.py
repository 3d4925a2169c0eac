"""The cluster's keys: its authority, the server's and clients' certificates, the token signing key.

Made once under DIR/pki (0700; keys 0600), renewed when they near their end or lack a name.
"""

import socket
from pathlib import Path

from sampan.cluster.settings import Settings
from sampan.web import certificates
from sampan.web.certificates import Pair, Subject

AUTHORITY = "ca"
SERVER = "apiserver"
ADMIN = "admin"
KUBELET_CLIENT = "apiserver-kubelet-client"
CONTROLLERS = "controllers"
SCHEDULER = "scheduler"
TOKEN_KEY = "sa.key"
RENEW_BEFORE_SECONDS = 30 * 24 * 3600


def node(name: str) -> str:
    """The file name of a node agent's pair."""
    return f"node-{name}"


def ensure(settings: Settings, now: float) -> Path:
    """Makes what is missing; returns the directory."""
    directory = settings.path("pki")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = Pair.load(directory, AUTHORITY)
    if authority is None:
        authority = certificates.new_authority("sampan-ca", now)
        authority.save(directory, AUTHORITY)
    for name, subject in subjects(settings).items():
        pair = Pair.load(directory, name)
        if pair is None or _is_stale(pair, subject, now):
            certificates.issue(authority, subject, now).save(directory, name)
    key = directory / TOKEN_KEY
    if not key.exists():
        certificates.write_private(key, certificates.new_signing_key())
    return directory


def subjects(settings: Settings) -> dict[str, Subject]:
    """Every certificate by file name."""
    wanted = {
        SERVER: Subject("kube-apiserver", hosts=server_hosts(settings)),
        ADMIN: Subject("kubernetes-admin", ("system:masters",)),
        KUBELET_CLIENT: Subject("kube-apiserver-kubelet-client", ("system:masters",)),
        CONTROLLERS: Subject("system:kube-controller-manager", ("system:masters",)),
        SCHEDULER: Subject("system:kube-scheduler"),
    }
    for number, name in enumerate(settings.node_names()):
        hosts = (name, settings.gateway(number))
        wanted[node(name)] = Subject(f"system:node:{name}", ("system:nodes",), hosts)
    return wanted


def server_hosts(settings: Settings) -> tuple[str, ...]:
    """The names and addresses by which the API may be called."""
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    names += ["kubernetes.default.svc.cluster.local", "127.0.0.1", "::1"]
    names += [settings.api_service_ip, settings.gateway(0)]
    names += _own_names() if settings.listen in ("0.0.0.0", "::") else [settings.listen]
    return tuple(dict.fromkeys(names))


def _own_names() -> list[str]:
    """This host's name and the addresses that it stands for."""
    name = socket.gethostname()
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return [name]
    return [name, *(str(address[0]).partition("%")[0] for *_, address in found)]


def _is_stale(pair: Pair, subject: Subject, now: float) -> bool:
    if certificates.expires_at(pair) < now + RENEW_BEFORE_SECONDS:
        return True
    return bool(subject.hosts) and not certificates.serves(pair, subject.hosts)
