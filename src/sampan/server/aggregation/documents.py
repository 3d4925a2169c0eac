"""What extension API servers say about themselves, joined to our own documents: discovery and OpenAPI.

A server that cannot be asked now is listed with what it said last, as stale. Pure: trees in, trees out.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#aggregated-discovery
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.server.aggregation import priorities

Tree = dict[str, Any]

DEFINITION = "#/definitions/"


@dataclass(frozen=True, slots=True)
class Told:
    """What one APIService's server has told.

    `resources` are entries of aggregated discovery; `v3` is its path's entry in the OpenAPI v3 index; `v2` is
    its whole OpenAPI v2 document.
    """

    service: Tree
    resources: Sequence[Tree] = ()
    is_fresh: bool = False
    v3: Mapping[str, Tree] = field(default_factory=dict)
    v2: Tree = field(default_factory=dict)

    @property
    def group(self) -> str:
        return priorities.service_key(self.service)[0]

    @property
    def version(self) -> str:
        return priorities.service_key(self.service)[1]


Tellers = Mapping[tuple[str, str], Told]


def groups(own: Tree, tellers: Tellers) -> Tree:
    """/apis: the groups of an APIGroupList, ours and theirs, in order of priority."""
    found = {entry["name"]: entry for entry in own["groups"]}
    for name in {told.group for told in tellers.values() if told.group}:
        entry = group(found.get(name), name, tellers)
        found[name] = {key: value for key, value in entry.items() if key not in ("kind", "apiVersion")}
    local = {entry["name"] for entry in own["groups"]}
    return {**own, "groups": [found[name] for name in _ordered(found, local, tellers)]}


def group(own: Tree | None, name: str, tellers: Tellers) -> Tree:
    """/apis/NAME: one APIGroup with the versions of both; its first version is the preferred one."""
    theirs = {told.version: told.service for told in tellers.values() if told.group == name}
    versions = {entry["version"] for entry in (own or {}).get("versions", ())} | set(theirs)
    ordered = _versions(name, versions, theirs)
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in ordered]
    head = {"kind": "APIGroup", "apiVersion": "v1", "name": name} if own is None else own
    return {**head, "versions": listed, "preferredVersion": listed[0]}


def aggregated(own: Tree, tellers: Tellers) -> Tree:
    """/apis as an APIGroupDiscoveryList."""
    found = {item["metadata"].get("name", ""): item for item in own["items"]}
    local = set(found)
    for name in {told.group for told in tellers.values() if told.group}:
        theirs = {told.version: told for told in tellers.values() if told.group == name}
        versions = {entry["version"]: entry for entry in found.get(name, {}).get("versions", ())}
        versions |= {version: _discovered(told) for version, told in theirs.items()}
        services = {version: told.service for version, told in theirs.items()}
        order = _versions(name, versions, services)
        metadata = found.get(name, {}).get("metadata") or {"name": name, "creationTimestamp": None}
        found[name] = {"metadata": metadata, "versions": [versions[version] for version in order]}
    return {**own, "items": [found[name] for name in _ordered(found, local, tellers)]}


def v3_index(own: Tree, tellers: Tellers) -> Tree:
    """/openapi/v3: where the documents of all are; theirs are asked for through us."""
    paths = dict(own["paths"])
    for told in tellers.values():
        for path in (f"apis/{told.group}/{told.version}", f"apis/{told.group}"):
            if path in told.v3:
                paths[path] = told.v3[path]
    return {**own, "paths": dict(sorted(paths.items()))}


def v2(own: Tree, tellers: Tellers) -> Tree:
    """/openapi/v2: their paths below /apis/, and their definitions; one that differs from ours gets another name."""
    paths, definitions = dict(own.get("paths", {})), dict(own["definitions"])
    for told in tellers.values():
        prefix = f"/apis/{told.group}/"
        theirs = {path: item for path, item in (told.v2.get("paths") or {}).items() if path.startswith(prefix)}
        theirs = {path: item for path, item in theirs.items() if path not in paths}
        given = told.v2.get("definitions") or {}
        needed = _closure(theirs, given)
        names = {name: _free_name(name, given[name], definitions) for name in needed}
        definitions |= {names[name]: _renamed(given[name], names) for name in needed}
        paths |= {path: _renamed(item, names) for path, item in theirs.items()}
    made = {**own, "definitions": dict(sorted(definitions.items()))}
    return made | ({"paths": dict(sorted(paths.items()))} if "paths" in own else {})


def of_list(resources: Tree, group_name: str, version: str) -> list[Tree]:
    """An APIResourceList as entries of aggregated discovery, for servers that know only the former."""
    found: dict[str, Tree] = {}
    for entry in resources.get("resources") or ():
        name, _, subresource = entry["name"].partition("/")
        kind = {
            "group": entry.get("group") or group_name,
            "version": entry.get("version") or version,
            "kind": entry.get("kind", ""),
        }
        scope = "Namespaced" if entry.get("namespaced") else "Cluster"
        if subresource:
            parent = found.setdefault(name, {"resource": name, "scope": scope, "singularResource": "", "verbs": []})
            parent.setdefault("subresources", []).append(
                {"subresource": subresource, "responseKind": kind, "verbs": entry.get("verbs") or []}
            )
            continue
        made: Tree = found.setdefault(name, {})
        made |= {
            "resource": name,
            "responseKind": kind,
            "scope": scope,
            "singularResource": entry.get("singularName", ""),
            "verbs": entry.get("verbs") or [],
        }
        made |= {key: entry[key] for key in ("shortNames", "categories") if entry.get(key)}
    return list(found.values())


def of_discovery(document: Tree, group_name: str, version: str) -> list[Tree] | None:
    """The resources of one version in an APIGroupDiscoveryList; None when it is not there."""
    for item in document.get("items") or ():
        if (item.get("metadata") or {}).get("name") == group_name:
            for entry in item.get("versions") or ():
                if entry.get("version") == version:
                    return list(entry.get("resources") or ())
    return None


def _versions(group_name: str, versions: Iterable[str], services: Mapping[str, Tree]) -> list[str]:
    """A group's versions, the preferred one first."""
    return sorted(versions, key=lambda v: priorities.version_order(group_name, v, services.get(v)))


def _discovered(told: Told) -> Tree:
    freshness = "Current" if told.is_fresh else "Stale"
    return {"version": told.version, "resources": list(told.resources), "freshness": freshness}


def _ordered(found: Mapping[str, Tree], local: set[str], tellers: Tellers) -> list[str]:
    def order(name: str) -> tuple[int, str]:
        services = [told.service for told in tellers.values() if told.group == name]
        return priorities.group_order(name, services, local=name in local)

    return sorted(found, key=order)


def _closure(paths: Tree, definitions: Tree) -> list[str]:
    """The definitions that the paths need, in order."""
    found: set[str] = set()
    waiting = _references(paths)
    while waiting:
        name = waiting.pop()
        if name in definitions and name not in found:
            found.add(name)
            waiting += _references(definitions[name])
    return sorted(found)


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in _references(item)]
    if not isinstance(node, dict):
        return []
    own = node.get("$ref")
    found = [own.removeprefix(DEFINITION)] if isinstance(own, str) else []
    return found + [name for value in node.values() for name in _references(value)]


def _free_name(name: str, node: Any, taken: Tree) -> str:
    """The name itself when nobody else means something different by it, else NAME_v2, NAME_v3 ..."""
    free, number = name, 1
    while free in taken and not _is_same(taken[free], node):
        number += 1
        free = f"{name}_v{number}"
    return free


def _is_same(left: Any, right: Any) -> bool:
    """Whether two definitions mean the same; groups that are listed on one only make no difference."""
    mark = "x-kubernetes-group-version-kind"
    return {k: v for k, v in left.items() if k != mark} == {k: v for k, v in right.items() if k != mark}


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_renamed(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _renamed(value, names) for key, value in node.items()}
    own = node.get("$ref")
    if isinstance(own, str):
        name = own.removeprefix(DEFINITION)
        made["$ref"] = DEFINITION + names.get(name, name)
    return made
