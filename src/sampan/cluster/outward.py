"""How a real cluster's server reaches others, and shows itself to them: agents, webhooks, extension servers.

What nobody may make it call for them is its own API, by whichever of its addresses.
"""

import ipaddress
from pathlib import Path

from sampan.cluster import key_files, pki
from sampan.cluster.settings import Settings
from sampan.server import front_proxy
from sampan.server.aggregation.extension import Identity
from sampan.server.outbound import Credentials
from sampan.server.outbound_http import HttpOutbound


def outbound(settings: Settings) -> HttpOutbound:
    """The server's way out."""
    addresses = [host for host in pki.server_hosts(settings) if _is_address(host)]
    own = {(address, settings.api_port) for address in addresses} | {(settings.api_service_ip, 443)}
    return HttpOutbound(own)


def agent(keys: Path) -> Credentials:
    """For node agents."""
    certificate, key = keys / f"{key_files.KUBELET_CLIENT}.crt", keys / f"{key_files.KUBELET_CLIENT}.key"
    return Credentials((keys / f"{key_files.AUTHORITY}.crt").read_bytes(), str(certificate), str(key))


def aggregation(keys: Path) -> Identity:
    """For extension API servers."""
    return Identity(
        authority=(keys / f"{key_files.FRONT_PROXY_AUTHORITY}.crt").read_bytes(),
        client_authority=(keys / f"{key_files.AUTHORITY}.crt").read_bytes(),
        names=(key_files.FRONT_PROXY,),
        certificate=str(keys / f"{key_files.FRONT_PROXY}.crt"),
        key=str(keys / f"{key_files.FRONT_PROXY}.key"),
    )


def trusted_proxy(keys: Path) -> front_proxy.Settings:
    """Which authenticating proxy is believed: our own front proxy, in front of another server of this cluster."""
    return front_proxy.Settings(
        (keys / f"{key_files.FRONT_PROXY_AUTHORITY}.crt").read_bytes(), (key_files.FRONT_PROXY,)
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
