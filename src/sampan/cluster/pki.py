"""The cluster's keys: its authority, the server's and clients' certificates, the token signing key.

Made once under DIR/pki (0700; keys 0600), renewed when they near their end or lack a name.
"""

import base64
import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.cluster import key_files
from sampan.cluster.settings import YEAR_SECONDS, Settings
from sampan.kit import files
from sampan.meta import timestamps
from sampan.web import certificates
from sampan.web.certificates import Order, Pair, Subject

if TYPE_CHECKING:  # the command that makes keys needs no controllers
    from sampan.control.plan import AskSignature

OF_SERVER = (key_files.SERVER, key_files.KUBELET_CLIENT, key_files.ADMIN, key_files.CONTROLLERS, key_files.SCHEDULER)
"""Those that nobody asks for by request, as nodes do."""
AUTHORITIES = (key_files.AUTHORITY, key_files.FRONT_PROXY_AUTHORITY)
DAY_SECONDS = 24 * 3600
RENEW_BEFORE_SECONDS = 30 * DAY_SECONDS
PROLONG_BEFORE_SECONDS = 2 * YEAR_SECONDS
"""So long before its end an authority gets a new certificate when a cluster starts: what it signs lives for one year."""

LOG = logging.getLogger("sampan")


class AuthorityError(ValueError):
    """It does not hold now: what it would sign could not be used."""


def ensure(settings: Settings, now: float) -> Path:
    """Makes what is missing; returns the directory. Of several that do so at once, the others wait for the first.

    Raises AuthorityError.
    """
    directory = settings.path("pki")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with files.alone(directory):
        _make(directory, settings, now)
    return directory


def _make(directory: Path, settings: Settings, now: float) -> None:
    authority = _authority(directory, key_files.AUTHORITY, "sampan-ca", now)
    _authority(directory, key_files.FRONT_PROXY_AUTHORITY, key_files.FRONT_PROXY_AUTHORITY, now)
    _issue(directory, authority, subjects(settings), now)
    _ensure_front_proxy(directory, authority, now)
    key = directory / key_files.TOKEN_KEY
    if not key.exists():
        certificates.write_private(key, certificates.new_signing_key())


def _authority(directory: Path, file: str, name: str, now: float) -> Pair:
    """Made where there is none; with another certificate for the same key where its own nears its end, or is of a time to come.

    One that another authority has signed is that one's to prolong.
    """
    found = Pair.load(directory, file)
    if found is None:
        made = certificates.new_authority(name, now)
    else:
        start, end = certificates.lifetime(found.certificate)
        if start <= now <= end - PROLONG_BEFORE_SECONDS or not certificates.is_self_issued(found.certificate):
            return found
        made = certificates.prolong(found, now)
        held = (timestamps.format(time) for time in certificates.lifetime(made.certificate))
        LOG.warning("%s.crt is made anew for the same key, and holds from %s to %s", file, *held)
    made.save(directory, file)
    return made


def _issue(directory: Path, authority: Pair, wanted: Mapping[str, Subject], now: float) -> list[str]:
    """Makes those that are missing or stale; returns which. Raises AuthorityError."""
    made: dict[str, Pair] = {}
    # Nothing outlives the authority: what ends with it is not made anew again and again.
    needed_until = min(now + RENEW_BEFORE_SECONDS, certificates.expires_at(authority) - DAY_SECONDS)
    for name, subject in wanted.items():
        pair = Pair.load(directory, name)
        if pair is None or not _is_of(authority, pair, now) or _is_stale(pair, subject, needed_until):
            _check_holds(authority, now)
            made[name] = certificates.issue(authority, subject, now)
    certificates.save(directory, made)
    return list(made)


def _check_holds(authority: Pair, now: float) -> None:
    if certificates.holds(authority.certificate, now):
        return
    start, end = map(timestamps.format, certificates.lifetime(authority.certificate))
    mend = (
        "start the cluster anew" if certificates.is_self_issued(authority.certificate) else "put one that holds there"
    )
    raise AuthorityError(
        f"the authority holds from {start} to {end}, now is {timestamps.format(now)}: set the clock, or {mend}"
    )


def renew(settings: Settings, now: float) -> list[str]:
    """Makes those of the API server anew that near their end; returns which. Raises AuthorityError.

    Nodes see to their own, by asking the API; those of nodes here that do not hold all the same, since the machine slept
    or its clock was set, are made anew too, for nobody answers such a node any more. Its agent finds them.
    """
    directory = settings.path("pki")
    with files.alone(directory):
        authority = Pair.load(directory, key_files.AUTHORITY)
        if authority is None:
            return []
        wanted = subjects(settings)
        lost = [name for name in wanted if name not in OF_SERVER and _is_lost(directory, name, now)]
        made = _issue(directory, authority, {name: wanted[name] for name in (*OF_SERVER, *lost)}, now)
        return made + _ensure_front_proxy(directory, authority, now)


def _is_lost(directory: Path, name: str, now: float) -> bool:
    pair = Pair.load(directory, name)
    return pair is not None and not certificates.holds(pair.certificate, now)


def authority_ends(settings: Settings) -> dict[str, float]:
    """When each authority's own certificate ends, unix seconds, by the names of the files."""
    pairs = {name: Pair.load(settings.path("pki"), name) for name in AUTHORITIES}
    return {name: certificates.expires_at(pair) for name, pair in pairs.items() if pair is not None}


def _ensure_front_proxy(directory: Path, authority: Pair, now: float) -> list[str]:
    """The front proxy's certificate, by its own authority, and the file of all authorities whose clients may connect.

    Returns the certificate's name when it was made.
    """
    front = Pair.load(directory, key_files.FRONT_PROXY_AUTHORITY)
    if front is None:
        return []
    made = _issue(directory, front, {key_files.FRONT_PROXY: Subject(key_files.FRONT_PROXY)}, now)
    trusted, file = authority.certificate + front.certificate, directory / key_files.CLIENT_AUTHORITIES
    if not file.exists() or file.read_bytes() != trusted:
        files.write_whole(file, trusted, 0o644)
    return made


def retired_token_keys(directory: Path) -> tuple[bytes, ...]:
    """The keys sa-*.pub and sa-*.key, whose tokens hold on: an old sa.key is renamed so when a new one is made."""
    return tuple(path.read_bytes() for path in sorted((*directory.glob("sa-*.pub"), *directory.glob("sa-*.key"))))


def signer(
    directory: Path, now: Callable[[], float], longest_seconds: int = YEAR_SECONDS
) -> "Callable[[AskSignature], str]":
    """What signs certificate requests in the authority's name; `now` is the clock of their lifetimes."""
    authority = Pair.load(directory, key_files.AUTHORITY)
    if authority is None:
        raise FileNotFoundError(f"{directory} holds no authority")

    def sign(asked: "AskSignature") -> str:
        order = Order(base64.b64decode(asked.request), asked.usages, min(asked.seconds, longest_seconds))
        return base64.b64encode(certificates.sign(authority, order, now())).decode()

    return sign


def subjects(settings: Settings) -> dict[str, Subject]:
    """Every certificate by file name."""
    wanted = {
        key_files.SERVER: Subject("kube-apiserver", hosts=server_hosts(settings)),
        key_files.ADMIN: Subject("kubernetes-admin", ("system:masters",)),
        key_files.KUBELET_CLIENT: Subject("kube-apiserver-kubelet-client", ("system:masters",)),
        key_files.CONTROLLERS: Subject("system:kube-controller-manager", ("system:masters",)),
        key_files.SCHEDULER: Subject("system:kube-scheduler"),
    }
    for number, name in enumerate(settings.node_names()):
        hosts = (name, settings.internal_ip(number))
        wanted[key_files.node(name)] = Subject(f"system:node:{name}", ("system:nodes",))
        wanted[key_files.node_serving(name)] = Subject(f"system:node:{name}", ("system:nodes",), hosts)
    return wanted


def server_hosts(settings: Settings) -> tuple[str, ...]:
    """The names and addresses by which the API may be called."""
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    names += ["kubernetes.default.svc.cluster.local", "127.0.0.1", "::1"]
    names += [settings.api_service_ip, settings.api_address]
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


def _is_of(authority: Pair, pair: Pair, now: float) -> bool:
    """Whether it holds, and is of this authority: one may be put in the place of another, or have been lost."""
    return certificates.holds(pair.certificate, now) and certificates.is_signed_by(
        pair.certificate, authority.certificate
    )


def _is_stale(pair: Pair, subject: Subject, needed_until: float) -> bool:
    """Too old, without a name that it needs, or not of its key: whoever made it anew was killed between the two."""
    if certificates.expires_at(pair) < needed_until or not certificates.is_of_key(pair.certificate, pair.key):
        return True
    return bool(subject.hosts) and not certificates.serves(pair, subject.hosts)
