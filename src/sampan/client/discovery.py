"""Discovery: which kinds a server serves, as Kind values good enough to list, watch, patch and delete.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from dataclasses import dataclass

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.kinds.kind import CLUSTER, NAMESPACED, Kind, Object
from sampan.meta.status import ApiError

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@dataclass(frozen=True, slots=True)
class Discovered:
    """The kinds found (preferred version of each) and what could not be read: group version -> error."""

    kinds: tuple[Kind, ...]
    failures: tuple[tuple[str, str], ...] = ()


class Discovery:
    """Asks a server again and again; what has not changed is neither sent nor read a second time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._etags: dict[str, str] = {}
        self._found: dict[str, Discovered] = {}
        self._latest: Discovered | None = None

    async def read(self) -> Discovered:
        """What there is now, the same one while nothing changes. Raises only when the list of groups can't be read."""
        for path in ("/api", "/apis"):
            tree, etag = await self._client.fetch(path, AGGREGATED, self._etags.get(path, ""))
            if tree is None:
                continue
            if tree.get("kind") != "APIGroupDiscoveryList":  # an old server, which says it piece by piece
                return await discover(self._client)
            self._etags[path], self._found[path], self._latest = etag, _aggregated(tree), None
        if self._latest is not None:
            return self._latest
        kinds = tuple(kind for found in self._found.values() for kind in found.kinds)
        failures = tuple(failure for found in self._found.values() for failure in found.failures)
        self._latest = Discovered(kinds, failures)
        return self._latest


async def discover(client: Client) -> Discovered:
    """Reads all group versions, one by one. Raises only when the list of groups itself can't be read."""
    paths = [("", "v1", "/api/v1")]
    groups = await client.call("GET", "/apis")
    for group in groups.get("groups") or ():
        version = group.get("preferredVersion") or group["versions"][0]
        paths.append((group["name"], version["version"], f"/apis/{version['groupVersion']}"))
    kinds: list[Kind] = []
    failures: list[tuple[str, str]] = []
    for name, version, path in paths:
        try:
            document = await client.call("GET", path)
        except (ApiError, TransportError) as error:
            failures.append((f"{name}/{version}" if name else version, str(error)))
            continue
        kinds.extend(_kinds(name, version, document))
    return Discovered(tuple(kinds), tuple(failures))


def _aggregated(tree: Object) -> Discovered:
    """The first, which is the preferred, version of each group."""
    kinds: list[Kind] = []
    failures: list[tuple[str, str]] = []
    for item in tree.get("items") or ():
        group = item["metadata"].get("name", "")
        for version in (item.get("versions") or ())[:1]:
            name = version["version"]
            if version.get("freshness") == "Stale":
                failures.append((f"{group}/{name}" if group else name, "stale GroupVersion discovery"))
            kinds.extend(_aggregated_kind(group, name, resource) for resource in version.get("resources") or ())
    return Discovered(tuple(kinds), tuple(failures))


def _aggregated_kind(group: str, version: str, resource: Object) -> Kind:
    answered = resource.get("responseKind") or {}
    return Kind(
        group=answered.get("group") or group,
        versions=(answered.get("version") or version,),
        name=answered.get("kind") or "",
        plural=resource["resource"],
        scope=NAMESPACED if resource.get("scope") == "Namespaced" else CLUSTER,
        singular=resource.get("singularResource") or "",
        short_names=tuple(resource.get("shortNames") or ()),
        verbs=tuple(resource.get("verbs") or ()),
    )


def _kinds(group: str, version: str, document: Object) -> list[Kind]:
    return [
        Kind(
            group=resource.get("group", group),
            versions=(resource.get("version", version),),
            name=resource["kind"],
            plural=resource["name"],
            scope=NAMESPACED if resource.get("namespaced") else CLUSTER,
            singular=resource.get("singularName") or "",
            short_names=tuple(resource.get("shortNames") or ()),
            verbs=tuple(resource.get("verbs") or ()),
        )
        for resource in document.get("resources") or ()
        if "/" not in resource["name"]
    ]
