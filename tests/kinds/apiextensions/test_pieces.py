"""The pieces of custom resources: JSONPath, formats, names, structural rules, pruning."""

from typing import Any

import pytest

from sampan.kinds.apiextensions import crd_rules, custom, field_path, formats, json_path, naming, structural, values

Node = dict[str, Any]

POD: Node = {
    "metadata": {"labels": {"a.b/c": "x"}},
    "items": [{"n": 1, "t": "Ready", "s": True}, {"n": 2, "t": "Other"}],
    "empty": [],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".items[0].n", [1]),
        (".items[-1].n", [2]),
        (".items[*].n", [1, 2]),
        (".items[0:1].n", [1]),
        (".items[0,1].t", ["Ready", "Other"]),
        ('.items[?(@.t=="Ready")].n', [1]),
        (".items[?(@.n>1)].t", ["Other"]),
        (".items[?(@.s)].n", [1]),
        (".metadata.labels.a\\.b/c", ["x"]),
        (".metadata.labels['a.b/c']", ["x"]),
        ("..n", [1, 2]),
        (".none.at.all", []),
        (".empty[0]", []),
        (".items.n", []),
    ],
)
def test_json_paths(path: str, found: list[Any]) -> None:
    """A path finds what kubectl's finds, and nothing where something is missing."""
    assert json_path.values(path, POD) == found


@pytest.mark.parametrize("path", ["items", ".items[", ".items[x]", ".items[?(@.a == b)]"])
def test_what_is_no_path(path: str) -> None:
    """A malformed path is refused."""
    with pytest.raises(json_path.PathError):
        json_path.values(path, POD)


GOOD = {
    "ipv4": ["1.2.3.4"], "ipv6": ["::1"], "cidr": ["10.0.0.0/8", "::/0"], "uuid": ["0F0E0D0C-1111-2222-3333-444455556666"],
    "date": ["2024-02-29"], "date-time": ["2024-02-29T10:11:12Z", "2024-02-29T10:11:12.5+01:00"], "duration": ["1h5m", "22 ns"],
    "email": ["a@b.c"], "hostname": ["a.example.com"], "mac": ["00:00:5e:00:53:01"], "byte": ["YQ=="], "uri": ["https://a/b"],
    "isbn": ["0321751043", "978-0321751041"], "creditcard": ["4111 1111 1111 1111"], "hexcolor": ["#fff"],
    "rgbcolor": ["rgb(1,2,3)"], "k8s-short-name": ["abc"], "k8s-long-name": ["a.b.c"], "quantity": ["10Gi"],
}  # fmt: skip
BAD = {
    "ipv4": ["1.2.3", "::1"], "cidr": ["10.0.0.0"], "uuid": ["x"], "date": ["2023-02-29"], "date-time": ["2024-13-01T00:00:00Z"],
    "duration": ["1 fortnight"], "email": ["a"], "hostname": ["-a"], "mac": ["0"], "byte": ["*"], "isbn": ["123"],
    "creditcard": ["1234"], "hexcolor": ["#ff"], "rgbcolor": ["rgb(1,2,300)"], "k8s-short-name": ["a.b"], "quantity": ["x"],
}  # fmt: skip


@pytest.mark.parametrize(("form", "text"), [(form, text) for form, texts in GOOD.items() for text in texts])
def test_texts_of_a_format(form: str, text: str) -> None:
    """What is of a format passes."""
    assert formats.is_known("string", form)
    assert formats.is_of(form, text)


@pytest.mark.parametrize(("form", "text"), [(form, text) for form, texts in BAD.items() for text in texts])
def test_texts_of_another_format(form: str, text: str) -> None:
    """What is not does not."""
    assert not formats.is_of(form, text)


def test_field_paths() -> None:
    """A rule's fieldPath is checked against the schema."""
    node: Node = {"properties": {"a": {"properties": {"b-c": {}}}, "m": {"additionalProperties": {"type": "string"}}}}
    assert field_path.find(".a['b-c']", node).path == "a.b-c"
    assert field_path.find(".m['k.l']", node).path == "m[k.l]"
    for path, text in (
        (".x", "does not refer to a valid field"),
        ("a", "expected [ or . but got: a"),
        (".a.", "unexpected end of JSON path"),
        (".m[k]", "expected single quoted string but got k"),
    ):
        with pytest.raises(field_path.PathError, match=text.replace("[", "\\[").replace(".", "\\.")):
            field_path.find(path, node)


@pytest.mark.parametrize(
    ("node", "texts"),
    [
        ({"type": "string"}, ['s.type: Invalid value: "string": must be object at the root']),
        ({}, ["s.type: Required value: must not be empty at the root"]),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            ["s.additionalProperties: Forbidden: must not be used at the root"],
        ),
        (
            {
                "type": "object",
                "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}},
            },
            [
                (
                    "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but "
                    "metadata is implicitly specified"
                )
            ],
        ),
        (
            {"type": "object", "anyOf": [{"properties": {"a": {"type": "string"}}}]},
            [
                "s.anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
                "s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]",
            ],
        ),
        (
            {
                "type": "object",
                "properties": {
                    "p": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
                },
            },
            [],
        ),
        (
            {"type": "object", "properties": {"e": {"type": "object", "x-kubernetes-embedded-resource": True}}},
            [
                (
                    "s.properties[e].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true "
                    "without x-kubernetes-preserve-unknown-fields"
                )
            ],
        ),
    ],
)
def test_structural_rules(node: Node, texts: list[str]) -> None:
    """What keeps a schema from being structural is told as upstream tells it."""
    assert [cause.text for cause in structural.causes(node, "s")] == texts


def test_pruning() -> None:
    """Unknown fields go, except under objects that keep them; what those declare is pruned again."""
    node: Node = {
        "properties": {
            "open": {
                "x-kubernetes-preserve-unknown-fields": True,
                "properties": {"closed": {"type": "object", "properties": {"a": {}}}},
            },
            "list": {"items": {"properties": {"a": {}}}},
            "map": {"additionalProperties": {"properties": {"a": {}}}},
        }
    }
    obj: Node = {
        "apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "gone": 1,
        "open": {"x": {"y": 1}, "closed": {"a": 1, "b": 2}}, "list": [{"a": 1, "b": 2}], "map": {"k": {"a": 1, "b": 2}},
    }  # fmt: skip
    assert sorted(values.prune(obj, node)) == ["gone", "list[0].b", "map.k.b", "open.closed.b"]
    assert obj["open"] == {"x": {"y": 1}, "closed": {"a": 1}}


def test_embedded_metadata_is_coerced() -> None:
    """Unknown fields of embedded metadata go, malformed ones are refused, or forgiven when they are stored."""
    node: Node = {
        "properties": {"e": {"x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}}
    }
    obj: Node = {"e": {"metadata": {"name": "n", "odd": 1}}}
    assert values.coerce(obj, node) == ["e.metadata.odd"]
    bad: Node = {"e": {"metadata": {"name": 1, "namespace": "ns"}, "kind": 7}}
    with pytest.raises(values.Malformed, match="must be a string"):
        values.coerce(bad, node)
    values.coerce(bad, node, forgive=True)
    assert bad == {"e": {"metadata": {"namespace": "ns"}}}


def test_names_are_claimed_once() -> None:
    """What another definition of the group holds is not accepted; the rest is."""
    names = {"plural": "as", "singular": "a", "kind": "A", "listKind": "AList", "shortNames": ["x", "y"]}
    crd: Node = {"metadata": {"name": "as.g.io"}, "spec": {"group": "g.io", "names": names}, "status": {}}
    other: Node = {
        "spec": {"group": "g.io"},
        "status": {"acceptedNames": {"plural": "bs", "kind": "B", "shortNames": ["y"]}},
    }
    elsewhere: Node = {"spec": {"group": "h.io"}, "status": {"acceptedNames": {"plural": "as", "kind": "A"}}}
    found = naming.status(crd, [other, elsewhere], 0)
    assert found["acceptedNames"] == {"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"}
    accepted = found["conditions"][0]
    assert (accepted["reason"], accepted["message"]) == ("ShortNamesConflict", '"y" is already in use')
    again = naming.status({**crd, "status": found}, [], 5)
    assert again["conditions"][0]["reason"] == "NoConflicts"
    assert again["conditions"][1]["status"] == "True"


@pytest.mark.parametrize(
    ("text", "state"),
    [("", "Missing"), ("unapproved, x", "Bypassed"), ("https://a/b", "Approved"), ("yes", "Invalid")],
)
def test_approval(text: str, state: str) -> None:
    """The annotation of protected groups says one of four things."""
    assert crd_rules.approval({crd_rules.APPROVAL: text})[0] == state


def test_versions_have_an_order() -> None:
    """Stable before beta before alpha, newer before older, others last."""
    versions = ["v1alpha1", "foo", "v2", "v1", "v1beta2", "v10", "v1beta1"]
    ordered = sorted(versions, key=custom.priority, reverse=True)
    assert ordered == ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]
