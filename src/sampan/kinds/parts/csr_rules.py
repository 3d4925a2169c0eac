"""Which certificate signing requests are refused, and which writes to them.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.kind import Object
from sampan.kinds.parts import csr
from sampan.meta import names
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required, too_long

USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip
_TRUE_ONLY = ("Approved", "Denied", "Failed")
_STATUSES = ("False", "True", "Unknown")
_MIN_SECONDS = 600
_MAX_DOMAIN = 253
_MAX_PATH_LABEL = 253
_MAX_PATH = 63 + 253 + 1
_CONDITIONS = "status.conditions"
_CERTIFICATE = "status.certificate"


def condition_types(obj: Object) -> list[str]:
    """The types of its conditions."""
    return [c.get("type") or "" for c in _conditions(obj)]


def causes(new: Object, old: Object | None) -> list[Cause]:
    """All that is wrong with a request by itself; what was stored wrong already is let be."""
    spec, before = new.get("spec") or {}, (old or {}).get("spec") or {}
    found: list[Cause] = []
    try:
        csr.parse(spec.get("request") or "")
    except csr.Malformed as error:
        found.append(invalid_value("spec.request", spec.get("request"), str(error)))
    found += _usage_causes(spec.get("usages") or (), before.get("usages"))
    signer = spec.get("signerName") or ""
    if signer == csr.LEGACY and before.get("signerName") != csr.LEGACY:
        text = "the legacy signerName is not allowed via this API version"
        found.append(invalid_value("spec.signerName", signer, text))
    elif signer != csr.LEGACY:
        found += signer_causes(signer, "spec.signerName")
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _MIN_SECONDS:
        text = "may not specify a duration less than 600 seconds (10 minutes)"
        found.append(invalid_value("spec.expirationSeconds", seconds, text))
    found += _condition_causes(new, old)
    certificate = (new.get("status") or {}).get("certificate")
    if certificate and certificate != ((old or {}).get("status") or {}).get("certificate"):
        error_text = csr.certificate_error(certificate)
        if error_text:
            found.append(invalid_value(_CERTIFICATE, "<certificate data>", error_text))
    return found


def update_causes(new: Object, old: Object, subresource: str) -> list[Cause]:
    """What this write may not change: conditions stay, approval and signature have their own doors."""
    found: list[Cause] = []
    for kind in _TRUE_ONLY:
        before, after = _of_type(old, kind), _of_type(new, kind)
        if len(after) < len(before):
            text = f'updates may not remove a condition of type "{kind}"'
            found.append(forbidden_field(_CONDITIONS, text))
    for kind in () if subresource == "approval" else ("Approved", "Denied"):
        before, after = _of_type(old, kind), _of_type(new, kind)
        if len(after) > len(before):
            found.append(forbidden_field(_CONDITIONS, f'updates may not add a condition of type "{kind}"'))
        elif len(after) == len(before) and after != before:
            found.append(forbidden_field(_CONDITIONS, f'updates may not modify a condition of type "{kind}"'))
    was = (old.get("status") or {}).get("certificate") or ""
    now = (new.get("status") or {}).get("certificate") or ""
    if was != now and subresource != "status":
        found.append(forbidden_field(_CERTIFICATE, "updates may not set certificate content"))
    elif was and was != now:
        found.append(forbidden_field(_CERTIFICATE, "updates may not modify existing certificate content"))
    return found


def signer_causes(signer: str, path: str) -> list[Cause]:
    """What is wrong with a signer's name: example.com/signer-name."""
    if not signer:
        return [required(path)]
    parts = signer.split("/")
    if len(parts) != 2:
        text = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [invalid_value(path, signer, text)]
    domain, rest = parts
    found = [too_long(path, _MAX_DOMAIN)] if len(domain.encode()) > _MAX_DOMAIN else []
    labels = domain.split(".")
    for label in labels:
        errors = names.dns1123_label(label)
        found += [invalid_value(path, domain, f'validating label "{label}": {error}') for error in errors]
        if errors:
            break
    if len(labels) < 2:
        text = "should be a domain with at least two segments separated by dots"
        found.append(invalid_value(path, domain, text))
    for label in rest.split("."):
        errors = names.dns1123_subdomain(label)
        found += [invalid_value(path, rest, f'validating label "{label}": {error}') for error in errors]
        if errors:
            break
    if len(rest.encode()) > _MAX_PATH:
        found.append(too_long(path, _MAX_PATH))
    return found


def _usage_causes(usages: Sequence[str], before: Sequence[str] | None) -> list[Cause]:
    path = "spec.usages"
    found = [] if usages else [required(path, "usages must be provided")]
    if before is not None and list(before) == list(usages):
        return found
    found += [not_supported(f"{path}[{i}]", usage, USAGES) for i, usage in enumerate(usages) if usage not in USAGES]
    seen: set[str] = set()
    for index, usage in enumerate(usages):
        if usage in seen:
            found.append(duplicate(f"{path}[{index}]", usage))
        seen.add(usage)
    return found


def _condition_causes(new: Object, old: Object | None) -> list[Cause]:
    known = condition_types(old) if old is not None else []
    may_clash = {"Approved", "Denied"} <= set(known)
    may_repeat, may_be_empty = len(known) != len(set(known)), "" in known
    found: list[Cause] = []
    seen: list[str] = []
    for index, condition in enumerate(_conditions(new)):
        kind, path = condition.get("type") or "", f"{_CONDITIONS}[{index}]"
        if not kind and not may_be_empty:
            found.append(required(f"{path}.type"))
        allowed = ("True",) if kind in _TRUE_ONLY else _STATUSES
        if not condition.get("status"):
            found.append(required(f"{path}.status"))
        elif condition["status"] not in allowed:
            found.append(not_supported(f"{path}.status", condition["status"], allowed))
        other = {"Approved": "Denied", "Denied": "Approved"}.get(kind)
        if other in seen and not may_clash:
            text = "Approved and Denied conditions are mutually exclusive"
            found.append(invalid_value(f"{path}.type", kind, text))
        if kind in seen and not may_repeat:
            found.append(duplicate(f"{path}.type", kind))
        seen.append(kind)
    return found


def _conditions(obj: Object) -> Sequence[Mapping[str, Any]]:
    return (obj.get("status") or {}).get("conditions") or ()


def _of_type(obj: Object, kind: str) -> list[Mapping[str, Any]]:
    return [condition for condition in _conditions(obj) if condition.get("type") == kind]
