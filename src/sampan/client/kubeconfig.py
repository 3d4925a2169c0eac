"""Kubeconfig: which server, which authority and which identity a context stands for.

https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Access:
    """Everything needed to reach a server. `ca`, `certificate` and `key` are PEM texts; empty when not used.

    `token_file` is read anew for each request, since mounted tokens rotate. `server_name` is the one that the server's
    certificate must have; "" for that of its URL.
    """

    server: str
    ca: str = ""
    certificate: str = ""
    key: str = ""
    token: str = ""
    token_file: str = ""
    insecure: bool = False
    namespace: str = "default"
    server_name: str = ""

    def current_token(self) -> str:
        """The bearer token to send now, or ""."""
        if self.token_file:
            return Path(self.token_file).read_text().strip()
        return self.token


def load(path: Path, context: str = "") -> Access:
    """The access that a context (default: the current one) names. Raises ValueError saying what is missing."""
    import yaml

    document = yaml.safe_load(path.read_text()) or {}
    chosen = context or document.get("current-context", "")
    link = _named(document, "contexts", "context", chosen)
    cluster = _named(document, "clusters", "cluster", link.get("cluster", ""))
    user = _named(document, "users", "user", link["user"]) if link.get("user") else {}
    unsupported = [name for name in ("exec", "auth-provider") if name in user]
    if unsupported:
        raise ValueError(f"user {link['user']} of {path} uses {unsupported[0]}, which is not supported")
    return Access(
        server=cluster["server"],
        ca=_pem(cluster, "certificate-authority", path.parent),
        certificate=_pem(user, "client-certificate", path.parent),
        key=_pem(user, "client-key", path.parent),
        token=user.get("token", ""),
        token_file=user.get("tokenFile", ""),
        insecure=bool(cluster.get("insecure-skip-tls-verify", False)),
        namespace=link.get("namespace") or "default",
        server_name=cluster.get("tls-server-name") or "",
    )


def _named(document: dict[str, Any], section: str, field: str, name: str) -> dict[str, Any]:
    for entry in document.get(section) or ():
        if entry.get("name") == name:
            found: dict[str, Any] = entry.get(field) or {}
            return found
    raise ValueError(f'the kubeconfig has no {field} "{name}"')


def _pem(entry: dict[str, Any], field: str, folder: Path) -> str:
    """Embedded data wins over a file; a relative file is beside the kubeconfig."""
    if entry.get(f"{field}-data"):
        return base64.b64decode(entry[f"{field}-data"]).decode()
    return (folder / entry[field]).read_text() if entry.get(field) else ""
