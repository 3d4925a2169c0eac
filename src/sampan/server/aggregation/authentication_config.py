"""ConfigMap kube-system/extension-apiserver-authentication: how extension servers know our callers and us.

https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/#original-request-username-and-group
"""

from typing import Any

import orjson

from sampan.server.aggregation.extension import Identity

Tree = dict[str, Any]

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
_HEADERS = {
    "requestheader-username-headers": ["X-Remote-User"],
    "requestheader-uid-headers": ["X-Remote-Uid"],
    "requestheader-group-headers": ["X-Remote-Group"],
    "requestheader-extra-headers-prefix": ["X-Remote-Extra-"],
}


def config_map(identity: Identity) -> Tree:
    """What the server keeps there."""
    data = {name: _listed(values) for name, values in _HEADERS.items()}
    data["client-ca-file"] = identity.client_authority.decode()
    data["requestheader-client-ca-file"] = identity.authority.decode()
    data["requestheader-allowed-names"] = _listed(list(identity.names))
    metadata = {"name": NAME, "namespace": NAMESPACE}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data}


def _listed(values: list[str]) -> str:
    return orjson.dumps(values).decode()
