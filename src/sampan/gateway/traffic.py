"""Traffic: what is to be done with requests, whatever kind of object said so: the values between rules and Envoy."""

from dataclasses import dataclass, field

EXACT, PREFIX, REGEX = "Exact", "PathPrefix", "RegularExpression"


@dataclass(frozen=True, slots=True)
class Cluster:
    """One port of a Service, and which HTTP it is spoken to in. `port_name` is that of its EndpointSlices' port."""

    namespace: str
    service: str
    port: int
    port_name: str = ""
    is_http2: bool = False

    @property
    def name(self) -> str:
        """default/web/80, or default/web/80/h2: what Envoy and its statistics call it."""
        return f"{self.namespace}/{self.service}/{self.port}" + ("/h2" if self.is_http2 else "")


@dataclass(frozen=True, slots=True)
class Value:
    """A header or query parameter that must be so."""

    name: str
    value: str
    is_regex: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests: all of it must hold. `authority` is an expression for the whole Host, "" for any."""

    type: str = PREFIX
    path: str = "/"
    method: str = ""
    headers: tuple[Value, ...] = ()
    params: tuple[Value, ...] = ()
    authority: str = ""
    is_grpc: bool = False


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """Changes of headers: (name, value) pairs and names."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a share of the requests goes; without a cluster they are answered 500."""

    cluster: Cluster | None
    weight: int = 1
    request: HeaderEdits = HeaderEdits()
    response: HeaderEdits = HeaderEdits()


@dataclass(frozen=True, slots=True)
class NewPath:
    """Another path: the whole one, or what takes the place of the matched prefix."""

    value: str
    is_prefix: bool


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where the client is sent; what is None or empty stays as it was asked for. `port` 0 stays unsaid."""

    status: int = 302
    scheme: str = ""
    hostname: str = ""
    port: int = 0
    path: NewPath | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """A share of the requests that is sent to somebody else too, whose answers are dropped."""

    cluster: Cluster
    numerator: int = 100
    denominator: int = 100


@dataclass(frozen=True, slots=True)
class Retry:
    """When a request is tried again."""

    attempts: int
    codes: tuple[int, ...] = ()
    backoff_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done with requests that match any of `matches`. `timeout_seconds` 0 means none."""

    matches: tuple[Match, ...]
    backends: tuple[Backend, ...] = ()
    request: HeaderEdits = HeaderEdits()
    response: HeaderEdits = HeaderEdits()
    redirect: Redirect | None = None
    new_hostname: str = ""
    new_path: NewPath | None = None
    mirrors: tuple[Mirror, ...] = ()
    timeout_seconds: float = 0.0
    try_seconds: float = 0.0
    retry: Retry | None = None

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """All that it may send to."""
        backends = (backend.cluster for backend in self.backends)
        return (*(cluster for cluster in backends if cluster is not None), *(m.cluster for m in self.mirrors))


@dataclass(frozen=True, slots=True)
class Route:
    """An object's rules. `created` and `name` decide between equals; those of a later tier come after all others."""

    kind: str
    namespace: str
    name: str
    created: str
    rules: tuple[Rule, ...]
    tier: int = 0

    @property
    def label(self) -> str:
        """HTTPRoute/default/web: what statistics call it."""
        return f"{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Host:
    """The routes of one host name ("*" for any) behind a listener."""

    name: str
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Door:
    """What one listener of Envoy serves for one name in TLS: hosts, and by which certificates.

    `server_name` is "" for whoever asks without one that another door has; `secrets` are empty without TLS.
    """

    name: str
    hosts: tuple[Host, ...]
    server_name: str = ""
    secrets: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Entrance:
    """A port of Envoy: where it listens, and the port that clients know."""

    name: str
    address: str
    port: int
    public_port: int
    doors: tuple[Door, ...]
    is_tls: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """All that Envoy is to do. Requests for `sleepers` wait where there is no endpoint."""

    entrances: tuple[Entrance, ...] = ()
    certificates: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    endpoints: dict[Cluster, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    sleepers: frozenset[Cluster] = frozenset()
