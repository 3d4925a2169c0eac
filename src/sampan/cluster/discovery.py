"""Discovery: what a machine finds out of a cluster with nothing but a token and the hash of its authority's key.

The first answer comes over a connection that nobody vouches for. It is believed only if the authority in it has
the given hash and the token's signature is on it; from then on everything is asked of servers that have this authority.

https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-join/#token-based-discovery-with-ca-pinning
"""

import base64
import hmac
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import yaml

from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import Access
from sampan.client.transport import TransportError
from sampan.cluster.tokens import INFO, INFO_KEY, INFO_NAMESPACE, SIGNATURE_PREFIX
from sampan.control import detached
from sampan.web import certificates
from sampan.web.message import Request

MOST_SKEW_SECONDS = 240.0
"""Certificates are valid from five minutes before they were made."""

AGAIN = "get a new command on that machine with: sampan node token"

_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")


class JoinError(Exception):
    """The machine can't join: one line that says what, why and how to mend it."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """What `sampan node token` has printed: HOST:PORT, the token, and the hash of the authority's key."""

    server: str
    token: str
    ca_hash: str

    @property
    def url(self) -> str:
        return f"https://{self.server}"

    @property
    def token_id(self) -> str:
        return self.token.partition(".")[0]


def invitation(server: str, token: str, ca_hash: str) -> Invitation:
    """Raises JoinError for what can't be one."""
    host, _, port = server.removeprefix("https://").rstrip("/").rpartition(":")
    if not host or not port.isdigit():
        raise JoinError(f"{server} is not HOST:PORT; {AGAIN}")
    if _TOKEN.fullmatch(token) is None:
        raise JoinError(f"the token has not the form ID.SECRET (6 and 16 letters and digits); {AGAIN}")
    if _HASH.fullmatch(ca_hash.lower()) is None:
        raise JoinError(f"--ca-hash is not sha256: and 64 hexadecimal digits; {AGAIN}")
    return Invitation(f"{host}:{port}", token, ca_hash.lower())


async def authority(asked: Invitation, now: float) -> str:
    """The cluster's authority (PEM), beyond doubt: what else comes with it is not believed. Raises JoinError."""
    data = await _cluster_info(asked, now)
    content = data.get(INFO_KEY, "")
    found = _authority_of(content)
    if found is None:
        raise JoinError(f"what {asked.server} says of its cluster can't be read; {AGAIN}")
    believed = certificates.of_key_hash(found.encode(), asked.ca_hash).decode()
    if not believed:
        raise JoinError(
            f"the authority of {asked.server} is {certificates.key_hash(found.encode())}, not that of --ca-hash: it is "
            f"another cluster, or somebody is in between; {AGAIN}"
        )
    _check_signature(asked, content, data)
    return believed


def _check_signature(asked: Invitation, content: str, data: dict[str, str]) -> None:
    id, _, secret = asked.token.partition(".")
    signature = data.get(f"{SIGNATURE_PREFIX}{id}")
    if signature is None:
        raise JoinError(
            f"the token {id} is unknown to {asked.server}: it has expired, or is another cluster's; {AGAIN}"
        )
    if not hmac.compare_digest(signature, detached.signature(content, id, secret)):
        raise JoinError(f"the secret of token {id} is wrong; {AGAIN}")


async def _cluster_info(asked: Invitation, now: float) -> dict[str, str]:
    """The ConfigMap, as anybody gets it."""
    transport = HttpTransport(Access(asked.url, insecure=True))
    path = f"/api/v1/namespaces/{INFO_NAMESPACE}/configmaps/{INFO}"
    try:
        answer = await transport.request(Request("GET", path, headers={"accept": "application/json"}))
    except TransportError as error:
        raise unreachable(asked.server, error) from error
    finally:
        await transport.close()
    check_clock(answer.headers.get("date", ""), now)
    if answer.status in (401, 403, 404):
        raise JoinError(f"{asked.server} tells strangers nothing that they could join by; {AGAIN}")
    if answer.status != 200 or not isinstance(answer.body, bytes):
        raise JoinError(f"{asked.server} answers {answer.status} instead of telling of its cluster; is it a cluster's?")
    try:
        found: dict[str, str] = orjson.loads(answer.body).get("data") or {}
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise JoinError(f"{asked.server} is no cluster's API: its answer can't be read") from error
    return found


def check_clock(date: str, now: float) -> None:
    """Raises JoinError when this machine's clock is far from the server's, whose answer bore this date."""
    try:
        skew = now - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return
    if abs(skew) > MOST_SKEW_SECONDS:
        way = "ahead of" if skew > 0 else "behind"
        raise JoinError(
            f"this machine's clock is {abs(skew):.0f} s {way} the server's: certificates would not be valid; "
            "set it right on both, such as with: timedatectl set-ntp true"
        )


def unreachable(server: str, error: TransportError) -> JoinError:
    """Says what of the connection failed, as far as it is known."""
    cause = error.__cause__
    why = str(cause) or type(cause).__name__ if cause is not None else str(error)
    if "certificate" in why.lower() and "verify" in why.lower():
        return JoinError(f"the certificate of {server} is not one of its cluster's for this address: {why}")
    return JoinError(
        f"the API at {server} does not answer ({why}); check the address, that the cluster runs there "
        "(sampan status), and that no firewall is in the way"
    )


def _authority_of(content: str) -> str | None:
    try:
        document: Any = yaml.safe_load(content)
        data = document["clusters"][0]["cluster"]["certificate-authority-data"]
        found = base64.b64decode(data).decode()
        certificates.of_key_hash(found.encode(), "")  # all can be read
    except (yaml.YAMLError, LookupError, TypeError, ValueError):
        return None
    return found
