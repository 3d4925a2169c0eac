"""What the files of the cluster's keys are called, for those who only have to find them.

Each name is one of a pair: NAME.crt and NAME.key. pki.py makes them.
"""

AUTHORITY = "ca"
FRONT_PROXY_AUTHORITY = "front-proxy-ca"
FRONT_PROXY = "front-proxy-client"
CLIENT_AUTHORITIES = "client-ca.crt"
"""A file of its own: the authorities whose clients may connect."""
SERVER = "apiserver"
ADMIN = "admin"
KUBELET_CLIENT = "apiserver-kubelet-client"
CONTROLLERS = "controllers"
SCHEDULER = "scheduler"
TOKEN_KEY = "sa.key"
"""A file of its own: what signs service accounts' tokens."""


def node(name: str) -> str:
    """A node agent's pair."""
    return f"node-{name}"


def node_serving(name: str) -> str:
    """The pair by which an agent's own port is served."""
    return f"node-{name}-serving"
