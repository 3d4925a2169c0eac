"""Discovery: what a machine with a token believes of a cluster, and of whom it does not."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import orjson
import pytest

from sampan.cluster import discovery, tokens
from sampan.cluster.discovery import JoinError
from sampan.cluster.settings import Settings
from sampan.control import detached
from sampan.web import certificates
from sampan.web.certificates import Subject
from sampan.web.listener import Address, Listener, server_context
from sampan.web.message import Request, Response

NOW = 1_767_225_600.0
AUTHORITY = certificates.new_authority("sampan-ca", NOW)
HASH = certificates.key_hash(AUTHORITY.certificate)
TOKEN = "abcdef.0123456789abcdef"


@dataclass
class Server:
    """What answers, and where."""

    port: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"date": formatdate(NOW, usegmt=True)})
    data: dict[str, str] = field(default_factory=dict)

    def invited(self, token: str = TOKEN, ca_hash: str = HASH) -> discovery.Invitation:
        return discovery.invitation(f"127.0.0.1:{self.port}", token, ca_hash)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """One that tells of a cluster, by a certificate of nobody's."""
    made = Server()
    cluster = Settings("tide", tmp_path, listen="192.0.2.7", node_ip="192.0.2.7")
    content = tokens.kubeconfig(cluster, AUTHORITY.certificate)
    made.data = {"kubeconfig": content, "jws-kubeconfig-abcdef": detached.signature(content, *TOKEN.split("."))}

    async def handle(request: Request) -> Response:
        assert request.path == "/api/v1/namespaces/kube-public/configmaps/cluster-info"
        assert "authorization" not in request.headers
        return Response(made.status, orjson.dumps({"data": made.data}), made.headers)

    def failed(request: Request, error: BaseException) -> Response:
        raise error

    own = certificates.issue(certificates.new_authority("nobody", NOW), Subject("x", hosts=("localhost",)), NOW)
    own.save(tmp_path, "own")
    context = server_context(str(tmp_path / "own.crt"), str(tmp_path / "own.key"), str(tmp_path / "own.crt"))
    listener = Listener(handle, failed, context)
    made.port = await listener.listen(Address("127.0.0.1", 0))
    yield made
    await listener.close()


async def test_the_authority_is_believed(server: Server) -> None:
    """With the hash that was given, and the signature of the token, though nobody vouches for the connection."""
    assert await discovery.authority(server.invited(), NOW) == AUTHORITY.certificate.decode()


async def test_authorities_beside_it(server: Server, tmp_path: Path) -> None:
    """Only the one with that hash is believed, wherever it stands; a bundle of others isn't."""
    other = certificates.new_authority("sampan-ca", NOW)
    cluster = Settings("tide", tmp_path, listen="192.0.2.7", node_ip="192.0.2.7")
    for bundle in (AUTHORITY.certificate + other.certificate, other.certificate + AUTHORITY.certificate):
        content = tokens.kubeconfig(cluster, bundle)
        server.data = {"kubeconfig": content, "jws-kubeconfig-abcdef": detached.signature(content, *TOKEN.split("."))}
        assert await discovery.authority(server.invited(), NOW) == AUTHORITY.certificate.decode()


async def test_another_authority(server: Server) -> None:
    """Whoever is in between has another key."""
    other = certificates.key_hash(certificates.new_authority("sampan-ca", NOW).certificate)
    with pytest.raises(JoinError, match="somebody is in between; get a new command"):
        await discovery.authority(server.invited(ca_hash=other), NOW)


async def test_other_tokens(server: Server) -> None:
    """One that has expired signs no more; one with another secret has signed otherwise."""
    with pytest.raises(JoinError, match="token zzzzzz is unknown .* it has expired"):
        await discovery.authority(server.invited("zzzzzz.0123456789abcdef"), NOW)
    with pytest.raises(JoinError, match="the secret of token abcdef is wrong"):
        await discovery.authority(server.invited("abcdef.fedcba9876543210"), NOW)
    server.data["kubeconfig"] = server.data["kubeconfig"].replace("192.0.2.7", "192.0.2.8")
    with pytest.raises(JoinError, match="is wrong"):
        await discovery.authority(server.invited(), NOW)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_nothing_is_told(server: Server, status: int) -> None:
    """Where no token was ever made, or nobody may ask: the mend is said."""
    server.status = status
    with pytest.raises(JoinError, match="get a new command on that machine with: sampan node token"):
        await discovery.authority(server.invited(), NOW)


async def test_other_servers(server: Server) -> None:
    """Something else listens there, or nothing."""
    server.data = {"kubeconfig": "clusters: 7"}
    with pytest.raises(JoinError, match="can't be read"):
        await discovery.authority(server.invited(), NOW)
    server.status = 500
    with pytest.raises(JoinError, match="answers 500"):
        await discovery.authority(server.invited(), NOW)
    with pytest.raises(JoinError, match=r"127.0.0.1:1 does not answer \(.*\); check the address"):
        await discovery.authority(discovery.invitation("127.0.0.1:1", TOKEN, HASH), NOW)


async def test_clocks_apart(server: Server) -> None:
    """Certificates would not be valid: said before anything is asked for."""
    server.headers = {"date": formatdate(NOW + 3600, usegmt=True)}
    with pytest.raises(JoinError, match="clock is 3600 s behind the server's"):
        await discovery.authority(server.invited(), NOW)
    server.headers = {"date": formatdate(NOW - 60, usegmt=True)}
    await discovery.authority(server.invited(), NOW)
    with pytest.raises(JoinError, match="ahead of"):
        discovery.check_clock(formatdate(NOW - 600, usegmt=True), NOW)


@pytest.mark.parametrize(
    ("server", "token", "ca_hash", "why"),
    [
        ("192.0.2.7", TOKEN, HASH, "not HOST:PORT"),
        ("192.0.2.7:6443", "abc", HASH, "ID.SECRET"),
        ("192.0.2.7:6443", TOKEN, "sha256:12", "--ca-hash"),
        ("192.0.2.7:6443", TOKEN, "", "--ca-hash"),
    ],
    ids=["server", "token", "hash", "no hash"],  # the hash is another one in each process
)
def test_bad_invitations(server: str, token: str, ca_hash: str, why: str) -> None:
    """Said before anybody is asked; without a hash nobody joins."""
    with pytest.raises(JoinError, match=why):
        discovery.invitation(server, token, ca_hash)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "listens on 127.0.0.1, which other machines don't reach; start it .* --listen ADDRESS"),
        ({"nodes": 3, "node_ip": "192.0.2.7"}, "has 3 nodes on this machine"),
        ({"runtime": "simulated", "node_ip": "192.0.2.7"}, "simulated"),
        ({"joined_to": "https://192.0.2.7:6443"}, "this is a node of https://192.0.2.7:6443"),
        ({"rootless": True, "node_ip": "192.0.2.7"}, "runs without root"),
    ],
)
def test_clusters_that_nobody_can_join(tmp_path: Path, fields: dict[str, object], why: str) -> None:
    """Each says why, and what to do."""
    with pytest.raises(tokens.TokenError, match=why):
        tokens.check(Settings("tide", tmp_path, **fields))  # type: ignore[arg-type]
    tokens.check(Settings("tide", tmp_path, listen="192.0.2.7", node_ip="192.0.2.7"))
