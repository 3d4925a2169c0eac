"""The conformance tests of kubectl that need no running pod, with the programs themselves.

A number is the test's position in upstream's list of conformance tests.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.test_kubectl_subcommands import Kubectl, kubectl, simulated

__all__ = ["kubectl", "simulated"]
pytestmark = [pytest.mark.slow]

BAR = {"type": "object", "required": ["name"], "description": "Bar of Foo", "properties": {
    "name": {"description": "Name of Bar.", "type": "string"},
    "age": {"description": "Age of Bar.", "type": "string"},
    "feeling": {"description": "Whether Bar is feeling great.", "type": "string", "enum": ["Great", "Down"]},
    "bazs": {"description": "List of Bazs.", "type": "array", "items": {"type": "string"}}}}  # fmt: skip
SPEC = {"description": "Specification of Foo", "type": "object", "properties": {
    "bars": {"description": "List of Bars and their specs.", "type": "array", "items": BAR}}}  # fmt: skip
VALIDATED = {"type": "object", "description": "Foo CRD for Testing", "properties": {"spec": SPEC}}
UNKNOWN = {"x-kubernetes-preserve-unknown-fields": True, "type": "object"}
NESTED = {"type": "object", "description": "preserve-unknown-properties in nested field for Testing", "properties": {
    "spec": {**UNKNOWN, "description": "Specification of Waldo", "properties": {
        "dummy": {"description": "Dummy property.", "type": "object"}}},
    "status": {**UNKNOWN, "description": "Status of Waldo", "properties": {
        "bars": {"description": "List of Bars and their statuses.", "type": "array", "items": {
            "type": "object", "properties": {"name": {"type": "string"}}}}}}}}  # fmt: skip


@pytest.fixture
def group(kubectl: Kubectl) -> Iterator[str]:
    """A group for this test alone; what is in it goes with the test."""
    name = f"{kubectl.namespace}.example.com"
    yield name
    kubectl(f"delete crd foos.{name} --ignore-not-found")


def define(kubectl: Kubectl, group: str, schema: Any) -> None:
    """A definition of Foos, established."""
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"foos.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": "foos", "singular": "foo", "kind": "Foo"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }  # fmt: skip
    kubectl("apply -f -", stdin=json.dumps(definition))
    kubectl(f"wait --for=condition=Established crd/foos.{group}")


def foo(group: str, **more: Any) -> str:
    return json.dumps({"apiVersion": f"{group}/v1", "kind": "Foo", "metadata": {"name": "test-foo"}, **more})


def test_a_validated_definition(kubectl: Kubectl, group: str) -> None:
    """42: known fields pass create and apply, unknown, missing and wrong ones are refused; explain knows every field."""
    define(kubectl, group, VALIDATED)
    good = foo(group, spec={"bars": [{"name": "test-bar", "age": "10", "feeling": "Great"}]})
    kubectl("create -f -", stdin=good)
    kubectl(f"delete foos.{group} test-foo")
    kubectl("apply -f -", stdin=good)
    kubectl(f"delete foos.{group} test-foo")
    for bars, text in (
        ([{"name": "b", "unknown": "x"}], 'unknown field "spec.bars[0].unknown"'),
        ([{"age": "10"}], "spec.bars[0].name: Required value"),
        ([{"name": "b", "feeling": "NotGreat"}], 'supported values: "Great", "Down"'),
    ):
        for verb in ("create", "apply"):
            assert text in kubectl.fails(f"{verb} -f -", stdin=foo(group, spec={"bars": bars}))
    for path, pattern in (
        (
            "",
            "Foo CRD for Testing.*FIELDS:.*apiVersion.*<string>.*kind.*<string>.*metadata.*<ObjectMeta>.*spec.*<Object>",
        ),
        (".metadata", "Standard object.s metadata.*FIELDS:.*creationTimestamp.*<string>"),
        (".spec", "Specification of Foo.*FIELDS:.*bars.*<\\[\\]Object>.*List of Bars and their specs"),
        (".spec.bars", "List of Bars and their specs.*age.*<string>.*bazs.*<\\[\\]string>.*name.*<string>.*-required-"),
    ):
        assert re.search(f"(?s)DESCRIPTION:.*{pattern}", kubectl(f"explain foos.{group}{path}")), path
    assert 'field "bars2" does not exist' in kubectl.fails(f"explain foos.{group}.spec.bars2")


@pytest.mark.parametrize(("schema", "text"), [
    (UNKNOWN, "<empty>"), (NESTED, "preserve-unknown-properties in nested field for Testing"),
])  # fmt: skip
def test_definitions_that_preserve_what_they_do_not_know(kubectl: Kubectl, group: str, schema: Any, text: str) -> None:
    """40, 41, 43: any field is created and applied; explain shows what description there is."""
    define(kubectl, group, schema)
    some = foo(group, spec={"a": None, "b": [{"c": "d"}]}, **({"any": "thing"} if schema is UNKNOWN else {}))
    for verb in ("create", "apply"):
        kubectl(f"{verb} -f -", stdin=some)
        kubectl(f"delete foos.{group} test-foo")
    assert re.search(rf"(?s)DESCRIPTION:.*{text}", kubectl(f"explain foos.{group}"))


def test_what_the_cluster_says_of_itself(kubectl: Kubectl) -> None:
    """171, 172, 181: v1 among the versions, where the control plane runs, both versions in full."""
    assert "v1" in kubectl("api-versions").splitlines()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", kubectl("cluster-info"))
    assert re.search(r"Kubernetes control plane.*is running at https://", plain)
    told = kubectl("version")
    assert re.search(r"Client Version: v\d+\.\d+\.\d+", told)
    assert re.search(r"Server Version: v1\.36\.\d+", told)


def test_a_difference_of_deployments(kubectl: Kubectl) -> None:
    """174: exit code 1, and both images in the difference."""
    kubectl("create deployment httpd --image=registry.example.com/a:1")
    changed = json.loads(kubectl("get deployment httpd -o json"))
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example.com/b:2"
    found = kubectl.cluster.run(kubectl.program, "diff", "-f", "-", stdin=json.dumps(changed), check=False)
    assert found.returncode == 1
    assert "-      - image: registry.example.com/a:1" in found.stdout
    assert "+      - image: registry.example.com/b:2" in found.stdout


def test_a_pod_is_run_and_patched_dry(kubectl: Kubectl) -> None:
    """179, 180: `run --restart=Never` makes that pod; a server-side dry run of a patch leaves its image."""
    kubectl("run httpd --restart=Never --pod-running-timeout=2m0s --image=registry.example.com/a:1")
    spec = kubectl.json("pod httpd")["spec"]
    assert (spec["containers"][0]["image"], spec["restartPolicy"]) == ("registry.example.com/a:1", "Never")
    patch = json.dumps({"spec": {"containers": [{"name": "httpd", "image": "registry.example.com/b:2"}]}})
    shown = kubectl("patch pod httpd --dry-run=server -o json", "-p", patch)
    assert json.loads(shown)["spec"]["containers"][0]["image"] == "registry.example.com/b:2"
    assert kubectl.json("pod httpd")["spec"]["containers"][0]["image"] == "registry.example.com/a:1"


def test_the_secure_service_comes_back(kubectl: Kubectl) -> None:
    """191, 192: what the server keeps is there again after `kubectl delete`, in a whole cluster with its controllers."""
    for what in ("service", "endpoints", "endpointslice"):
        before = json.loads(kubectl(f"get {what} kubernetes -n default -o json"))["metadata"]["uid"]
        kubectl(f"delete {what} kubernetes -n default")

        def is_back(what: str = what, before: str = before) -> bool:
            shown = kubectl(f"get {what} kubernetes -n default --ignore-not-found -o json")
            return bool(shown) and json.loads(shown)["metadata"]["uid"] != before

        kubectl.cluster.until(f"{what} kubernetes is back", is_back)
