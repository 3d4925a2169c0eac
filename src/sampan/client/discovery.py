"""Discovery: which kinds a server serves, as Kind values good enough to list, watch, patch and delete.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from dataclasses import dataclass

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.kinds.kind import CLUSTER, NAMESPACED, Kind, Object
from sampan.meta.status import ApiError


@dataclass(frozen=True, slots=True)
class Discovered:
    """The kinds found (preferred version of each) and what could not be read: group version -> error."""

    kinds: tuple[Kind, ...]
    failures: tuple[tuple[str, str], ...] = ()


async def discover(client: Client) -> Discovered:
    """Reads all group versions. Raises only when the list of groups itself can't be read."""
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


def _kinds(group: str, version: str, document: Object) -> list[Kind]:
    return [
        Kind(
            group=resource.get("group", group),
            versions=(resource.get("version", version),),
            name=resource["kind"],
            plural=resource["name"],
            scope=NAMESPACED if resource.get("namespaced") else CLUSTER,
            verbs=tuple(resource.get("verbs") or ()),
        )
        for resource in document.get("resources") or ()
        if "/" not in resource["name"]
    ]
