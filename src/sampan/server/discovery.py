"""Discovery: which groups, versions and resources the API serves, plain and aggregated.

Pure functions of the kinds; the caller keeps what they return.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import Kind, Subresource

Tree = dict[str, Any]

# The reference server's order; clients that must choose between groups take the first.
_ORDER = (
    "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling",
    "batch", "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
    "admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io",
    "discovery.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io",
)  # fmt: skip


def api_versions(kinds: Sequence[Kind], address: str) -> Tree:
    """/api: the versions of the core group, and the host and port at which every client finds them ("": not known)."""
    found = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}] if address else []
    return {"kind": "APIVersions", "versions": group_versions(kinds).get("", []), "serverAddressByClientCIDRs": found}


def groups(kinds: Sequence[Kind]) -> Tree:
    """/apis: every group but the core one, as an APIGroupList."""
    found = [_group(name, versions) for name, versions in group_versions(kinds).items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(kinds: Sequence[Kind], name: str) -> Tree | None:
    """/apis/NAME: one APIGroup; None when no kind is in it."""
    versions = group_versions(kinds).get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions and name else None


def resources(kinds: Sequence[Kind], group_name: str, version: str) -> Tree | None:
    """/api/V or /apis/G/V: an APIResourceList with subresources; None when nothing is served there."""
    here = [kind for kind in _served(kinds) if kind.group == group_name and version in kind.versions]
    if not here:
        return None
    listed = [entry for kind in here for entry in _entries(kind, version)]
    listed.sort(key=lambda entry: str(entry["name"]))
    start: Tree = {"kind": "APIResourceList", "apiVersion": "v1"} if group_name else {"kind": "APIResourceList"}
    return start | {"groupVersion": _api_version(group_name, version), "resources": listed}


def aggregated(kinds: Sequence[Kind], *, core: bool) -> Tree:
    """/api (core) or /apis in one document: an APIGroupDiscoveryList of apidiscovery.k8s.io/v2."""
    items = []
    places = by_place(kinds)
    for name, versions in group_versions(kinds).items():
        if core is not (name == ""):
            continue
        metadata: Tree = {"name": name} if name else {}
        listed = [
            {"version": version, "resources": _discovered(places[name, version], version), "freshness": "Current"}
            for version in versions
        ]
        items.append({"metadata": metadata | {"creationTimestamp": None}, "versions": listed})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def group_versions(kinds: Sequence[Kind]) -> dict[str, list[str]]:
    """Served versions by group, preferred ones first; groups in the reference server's order."""
    found: dict[str, set[str]] = {}
    for kind in _served(kinds):
        found.setdefault(kind.group, set()).update(kind.versions)
    rank = {name: index for index, name in enumerate(("", *_ORDER))}
    names = sorted(found, key=lambda name: (rank.get(name, len(rank)), name))
    return {name: sorted(found[name], key=version_rank) for name in names}


def by_place(kinds: Sequence[Kind]) -> dict[tuple[str, str], list[Kind]]:
    """The kinds of each group and version."""
    found: dict[tuple[str, str], list[Kind]] = {}
    for kind in _served(kinds):
        for version in kind.versions:
            found.setdefault((kind.group, version), []).append(kind)
    return found


def _served(kinds: Sequence[Kind]) -> list[Kind]:
    """Without those that are only bodies of a subresource, such as Eviction."""
    return [kind for kind in kinds if kind.plural]


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Stable before beta before alpha, newer before older; odd names last."""
    stability, rest = 0, version.removeprefix("v")
    for rank, word in ((1, "beta"), (2, "alpha")):
        if word in rest:
            stability = rank
            rest = rest.replace(word, ".")
    major, _, minor = rest.partition(".")
    if not version.startswith("v") or not major.isdigit() or (minor and not minor.isdigit()):
        return (3, 0, 0, version)
    return (stability, -int(major), -int(minor or 0), "")


def _group(name: str, versions: list[str]) -> Tree:
    listed = [{"groupVersion": _api_version(name, version), "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _api_version(group_name: str, version: str) -> str:
    return f"{group_name}/{version}" if group_name else version


def _singular(kind: Kind) -> str:
    return kind.singular or kind.name.lower()


def _entries(kind: Kind, version: str) -> list[Tree]:
    main: Tree = {
        "name": kind.plural,
        "singularName": _singular(kind),
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": sorted(kind.verbs),
    }
    if kind.short_names:
        main["shortNames"] = list(kind.short_names)
    if kind.categories:
        main["categories"] = list(kind.categories)
    if not kind.not_stored:
        main["storageVersionHash"] = storage_version_hash(kind)
    return [main, *(_subresource_entry(kind, version, subresource) for subresource in kind.subresources)]


def _subresource_entry(kind: Kind, version: str, subresource: Subresource) -> Tree:
    name = f"{kind.plural}/{subresource.name}"
    entry: Tree = {"name": name, "singularName": "", "namespaced": kind.namespaced}
    of = _body_of(kind, version, subresource)
    if (of["group"], of["version"]) != (kind.group, version):
        entry |= {"group": of["group"], "version": of["version"]}
    return entry | {"kind": of["kind"], "verbs": sorted(subresource.verbs)}


def _body_of(kind: Kind, version: str, subresource: Subresource) -> Tree:
    """The group, version and kind of what a subresource takes and returns."""
    if not subresource.kind:
        return {"group": kind.group, "version": version, "kind": kind.name}
    own_version = subresource.version or version
    return {"group": subresource.group, "version": own_version, "kind": subresource.kind}


def storage_version_hash(kind: Kind) -> str:
    """The hash by which clients see a change of the stored version: eight bytes of SHA-256 in base64."""
    digest = hashlib.sha256(f"{kind.place[0]}/{kind.storage_version or kind.version}/{kind.name}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _discovered(here: Sequence[Kind], version: str) -> list[Tree]:
    return [_discovered_one(kind, version) for kind in sorted(here, key=lambda kind: kind.plural)]


def _discovered_one(kind: Kind, version: str) -> Tree:
    found: Tree = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": version, "kind": kind.name},
        "scope": kind.scope,
        "singularResource": _singular(kind),
        "verbs": sorted(kind.verbs),
    }
    if kind.short_names:
        found["shortNames"] = list(kind.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    if kind.subresources:
        found["subresources"] = [
            {"subresource": s.name, "responseKind": _body_of(kind, version, s), "verbs": sorted(s.verbs)}
            for s in sorted(kind.subresources, key=lambda s: s.name)
        ]
    return found
