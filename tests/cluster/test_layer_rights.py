"""What a layer may do where it runs beside a cluster: what it needs, and nothing that would give it all."""

import ast
import importlib
import inspect
import itertools
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

from sampan.cluster import layer_rights, layers
from sampan.control.controller import Controller
from sampan.kinds.kind import Kind
from sampan.platform import rights

WRITES = {"create", "update", "patch", "delete", "deletecollection"}


def rules(layer: str) -> list[dict[str, list[str]]]:
    found = layers.load(layer)
    return [*layer_rights.everywhere(found), *layer_rights.at_home(found)]


@pytest.mark.parametrize("layer", layers.names())
def test_an_account_with_roles(layer: str) -> None:
    """One ServiceAccount, bound to a ClusterRole and to a Role in its own namespace."""
    made = {each["kind"]: each for each in layer_rights.manifest(layers.load(layer))}
    account = {"kind": "ServiceAccount", "name": f"sampan-{layer}", "namespace": "kube-system"}
    for binding, role in (("ClusterRoleBinding", "ClusterRole"), ("RoleBinding", "Role")):
        assert made[binding]["subjects"] == [account]
        assert made[binding]["roleRef"]["kind"] == role
        assert made[binding]["roleRef"]["name"] == made[role]["metadata"]["name"]
    assert made["Role"]["metadata"]["namespace"] == made["RoleBinding"]["metadata"]["namespace"] == "kube-system"


@pytest.mark.parametrize("layer", layers.names())
def test_it_follows_what_its_controllers_follow(layer: str) -> None:
    """No kind is left out, nor one that its rules are shown or its service follows."""
    found = layers.load(layer)
    kinds = {kind for each in found.controllers if isinstance(each, Controller) for kind in each.kinds}
    kinds |= {kind for reviewer in found.reviewers for kind in reviewer.reads} | {*found.rights.follows}
    for kind in kinds:
        wanted = rights.rule(kind.group, (kind.plural,), ("list", "watch"))
        assert any(rights.covers(one, wanted) for one in rules(layer)), kind.resource


@pytest.mark.parametrize("layer", layers.names())
def test_what_its_code_asks_for(layer: str) -> None:
    """Each call and each write whose kind stands in its code is allowed, for some objects at least."""
    held = [{**one, "resourceNames": []} for one in rules(layer)]
    wanted = {(of, call) for module in _modules(layer) for of, call in _calls(module)}
    assert wanted
    for (group, resource, verbs), where in sorted(wanted):
        for verb in verbs:
            assert any(rights.covers(one, rights.rule(group, (resource,), (verb,))) for one in held), (verb, where)


@pytest.mark.parametrize("layer", layers.names())
def test_what_its_rules_write(layer: str) -> None:
    """Is replaced, and read again where somebody else was faster."""
    for kind in (kind for reviewer in layers.load(layer).reviewers for kind in reviewer.writes):
        for wanted in ((kind.plural, "get"), (f"{kind.plural}/status", "update")):
            asked = rights.rule(kind.group, wanted[:1], wanted[1:])
            assert any(rights.covers(one, asked) for one in rules(layer)), wanted


def _modules(layer: str) -> Iterator[ModuleType]:
    """Those of the layer, and what they use of other rooms for layers."""
    package = importlib.import_module(layers.MODULES[layer].rpartition(".")[0])
    found = pkgutil.iter_modules(package.__path__)
    own = [importlib.import_module(f"{package.__name__}.{name}") for _, name, is_package in found if not is_package]
    used = {each for module in own for each in vars(module).values() if isinstance(each, ModuleType)}
    near = {each for each in used if each.__name__.rpartition(".")[0] in ("sampan.platform", "sampan.gateway")}
    yield from {*own, *near}


Call = tuple[str, str, tuple[str, ...]]
PLANNED = {
    "Ask": "get",
    "AskList": "list",
    "Create": "create",
    "Update": "update",
    "Patch": "patch",
    "Delete": "delete",
}
CALLED = {verb: (verb,) for verb in ("get", "list", "create", "update", "patch", "delete")} | {"apply": rights.APPLY}


def _calls(module: ModuleType) -> Iterator[tuple[Call, str]]:
    """(group, resource, verbs) and where, of those whose kind is one of the module's names."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        of, _, name = ast.unparse(node.func).rpartition(".")
        verbs = (PLANNED[name],) if name in PLANNED else CALLED.get(name, ()) if of.endswith("client") else ()
        if (of, name) == ("decorate", "status"):
            verbs = ("update",)
        kind = _named(module, node.args[0]) if verbs else None
        if kind is not None:
            parts = ["status"] if of == "decorate" else [a.value for a in node.args if isinstance(a, ast.Constant)]
            below = [str(part) for part in parts if part in ("status", "scale")]
            yield (kind.group, "/".join([kind.plural, *below]), verbs), f"{module.__name__}:{node.lineno}"


def _named(module: ModuleType, node: ast.expr) -> Kind | None:
    found: object = module
    for name in ast.unparse(node).split("."):
        found = getattr(found, name, None)
    return found if isinstance(found, Kind) else None


@pytest.mark.parametrize("layer", layers.names())
def test_nothing_that_would_give_it_all(layer: str) -> None:
    """No wildcard but for scales; no Secret, no role of others and no account is written, and nobody is impersonated."""
    for one in rules(layer):
        assert "*" not in (*one["verbs"], *one["resources"])
        assert "*" not in one["apiGroups"] or one["resources"] == ["*/scale"]
        assert not {"escalate", "bind", "impersonate"} & set(one["verbs"])
        if {"secrets", "serviceaccounts"} & set(one["resources"]):
            assert not WRITES & set(one["verbs"])
        if one["apiGroups"] == ["rbac.authorization.k8s.io"]:
            assert one["resourceNames"]


@pytest.mark.parametrize("layer", layers.names())
def test_nothing_twice(layer: str) -> None:
    """No rule is in another one of the same role, nor a part of it."""
    for one, other in itertools.permutations(layer_rights.everywhere(layers.load(layer)), 2):
        assert not rights.covers(one, other), (one, other)
    each = [
        of
        for one in layer_rights.everywhere(layers.load(layer))
        for of in itertools.product(one["apiGroups"], one["resources"], one["verbs"], one.get("resourceNames", ("",)))
    ]
    assert len(each) == len(set(each))


@pytest.mark.parametrize("layer", layers.names())
def test_it_has_what_it_hands_out(layer: str) -> None:
    """Whoever makes a ClusterRole must have all that is in it."""
    handed = [one for obj in layers.load(layer).objects if obj["kind"] == "ClusterRole" for one in obj["rules"]]
    assert bool(handed) == (layer == "rollouts")
    assert all(any(rights.covers(own, one) for own in rules(layer)) for one in handed)
