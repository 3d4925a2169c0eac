"""Why an etcd can't be used: each member is asked for its version, as a person would with curl.

gRPC says of nearly everything that it could not connect.

https://etcd.io/docs/latest/op-guide/security/
"""

import asyncio
import http.client
import json
import socket
import ssl
from dataclasses import dataclass

from sampan.store.etcd_address import Address

ASK_SECONDS = 3.0
_NO_TLS = "it speaks no TLS: say etcd:// instead"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a member, "" for nothing; `is_passing` when it may come to answer by and by."""

    member: str
    fault: str = ""
    is_passing: bool = False


async def look(address: Address) -> list[Finding]:
    """One finding for each member."""
    try:
        shown = context(address)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
        files = ", ".join(filter(None, (address.ca, address.certificate, address.key)))
        return [Finding(str(address), f"{files}: {why}")]
    asked = (asyncio.to_thread(_ask, address, number, shown) for number in range(len(address.members)))
    return list(await asyncio.gather(*asked))


def told(findings: list[Finding]) -> str:
    """All faults in one line."""
    return "; ".join(f"{finding.member}: {finding.fault}" for finding in findings if finding.fault)


def context(address: Address) -> ssl.SSLContext | None:
    """How its members are called; None without TLS. Raises OSError when a file is of no use."""
    if not address.is_secure:
        return None
    made = ssl.create_default_context(cafile=address.ca or None)
    if address.certificate:
        made.load_cert_chain(address.certificate, address.key)
    return made


def _ask(address: Address, number: int, shown: ssl.SSLContext | None) -> Finding:
    (host, port), member = address.members[number], address.targets[number]
    connection = http.client.HTTPConnection(host, port, timeout=ASK_SECONDS)
    try:
        made = socket.create_connection((host, port), ASK_SECONDS)
    except TimeoutError:
        return Finding(member, "no answer", is_passing=True)
    except OSError as error:
        return Finding(member, error.strerror or str(error), is_passing=True)
    with made:
        try:
            connection.sock = made if shown is None else shown.wrap_socket(made, server_hostname=host)
            connection.request("GET", "/version")
            answer = connection.getresponse().read()
        except ssl.SSLEOFError:
            return _hung_up(address, number, shown)
        except ssl.SSLError as error:
            return Finding(member, _tls_fault(address, error))
        except TimeoutError:
            return Finding(member, "no answer", is_passing=True)
        except (OSError, http.client.HTTPException):
            return _hung_up(address, number, shown)
        finally:
            connection.close()
    return Finding(member, "" if _is_version(answer) else "what answers there is no etcd")


def _hung_up(address: Address, number: int, shown: ssl.SSLContext | None) -> Finding:
    """It closed while it was asked. Its reason may be lost with what we had sent, so it is listened to, nothing asked."""
    (host, port), member = address.members[number], address.targets[number]
    if shown is None:
        return Finding(member, "it hung up; if it wants TLS, say etcds:// and which authority signed it")
    is_tls = False
    try:
        with (
            socket.create_connection((host, port), ASK_SECONDS) as made,
            shown.wrap_socket(made, server_hostname=host) as heard,
        ):
            is_tls = True
            heard.recv(1)
    except ssl.SSLError as error:
        return Finding(member, _tls_fault(address, error))
    except OSError:  # it says no more than before
        if not is_tls and _speaks_plainly(host, port):
            return Finding(member, _NO_TLS)
    return Finding(member, "it hung up", is_passing=True)


def _speaks_plainly(host: str, port: int) -> bool:
    """Whether it is an etcd without TLS, which may reset a connection that begins with it."""
    connection = http.client.HTTPConnection(host, port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", "/version")
        return _is_version(connection.getresponse().read())
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _is_version(answer: bytes) -> bool:
    try:
        return "etcdserver" in json.loads(answer)
    except (ValueError, TypeError):
        return False


def _tls_fault(address: Address, error: ssl.SSLError) -> str:
    """In words, with what to do."""
    reason = str(error.reason or error)
    if isinstance(error, ssl.SSLCertVerificationError):
        signed = f"by {address.ca}" if address.ca else "by an authority that this machine knows (give its file as ca)"
        if "hostname mismatch" in error.verify_message or "IP address mismatch" in error.verify_message:
            return f"its certificate is for another name: {error.verify_message}"
        return f"its certificate is not signed {signed}: {error.verify_message}"
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason or "EOF" in reason:
        return _NO_TLS
    if "ALERT" in reason and not address.certificate:
        return "it wants a client certificate: give cert and key"
    if "ALERT" in reason:
        return f"it does not accept our certificate ({reason.lower().replace('_', ' ')})"
    return reason.lower().replace("_", " ")
