"""Gateway rules: what a Gateway asks for that we don't do.

https://gateway-api.sigs.k8s.io/reference/spec/#gatewayspec
"""

import ipaddress

from sampan.gateway.listeners import Fault
from sampan.kinds.kind import Object


def fault(gateway: Object) -> Fault | None:
    """Why it is not accepted; None where it is, so far as it does not hang on its listeners."""
    spec = gateway["spec"]
    known = ("gatewayClassName", "listeners", "addresses", "infrastructure")
    unknown = sorted(name for name, value in spec.items() if name not in known and value is not None)
    if unknown:
        return Fault("UnsupportedValue", f"spec.{unknown[0]} is not supported")
    if (spec.get("infrastructure") or {}).get("parametersRef"):
        return Fault("InvalidParameters", "spec.infrastructure.parametersRef is not supported")
    for entry in spec.get("addresses") or ():
        if entry.get("type", "IPAddress") != "IPAddress":
            return Fault(
                "UnsupportedAddress", f"addresses of type {entry['type']} are not supported, only IPAddress is"
            )
        if entry.get("value") and not _is_address(entry["value"]):
            return Fault("UnsupportedAddress", f"{entry['value']} is not an IP address")
    if len(wishes(gateway)) > 1:
        return Fault("UnsupportedAddress", "more than one address is not supported")
    return None


def wishes(gateway: Object) -> list[str]:
    """The addresses that it asks for."""
    return [entry["value"] for entry in gateway["spec"].get("addresses") or () if entry.get("value")]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
