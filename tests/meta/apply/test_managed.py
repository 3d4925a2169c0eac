"""managedFields and server-side apply."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.kit.frozen import freeze
from sampan.meta import schema
from sampan.meta.apply import checking, fieldset, handover, managed
from sampan.meta.status import ApiError

DEPLOYMENT = schema.definition("io.k8s.api.apps.v1.Deployment")
NOW = 1_767_225_600.0


def by(manager: str, operation: str = "Apply", now: float = NOW, subresource: str = "") -> managed.Write:
    return managed.Write(manager, operation, "apps/v1", subresource, now)


def deployment(replicas: int | None = 1, image: str = "nginx", **labels: str) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 80}]}]},
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    metadata: dict[str, Any] = {"name": "web", "namespace": "default"}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def created(obj: dict[str, Any], manager: str = "kubectl-client-side-apply") -> dict[str, Any]:
    entries = managed.track(obj, None, by(manager, "Update"), DEPLOYMENT)
    return freeze({**obj, "metadata": {**obj["metadata"], "managedFields": entries}})


def entry(obj: dict[str, Any], manager: str) -> dict[str, Any] | None:
    return next((e for e in obj["metadata"]["managedFields"] if e["manager"] == manager), None)


def test_create_is_tracked_as_upstream_does() -> None:
    """Parents that always exist are not owned; maps, their keys and list items are."""
    fields = entry(created(deployment(a="b")), "kubectl-client-side-apply")["fieldsV1"]  # type: ignore[index]
    assert fields == {
        "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"web"}': {
                            ".": {},
                            "f:name": {},
                            "f:image": {},
                            "f:ports": {
                                ".": {},
                                'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}},
                            },
                        }
                    }
                },
            },
        },
    }


def test_an_empty_part_that_is_always_there_is_not_owned() -> None:
    """A node's spec: nobody can leave it out."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "labels": {"a": "b"}}, "spec": {}}
    [found] = managed.track(node, None, by("kubectl-create", "Update"), schema.definition("io.k8s.api.core.v1.Node"))
    assert found["fieldsV1"] == {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}


def test_conflict_has_upstreams_words() -> None:
    """Another's field is refused by name, and taken by force."""
    live = created(deployment(replicas=1))
    with pytest.raises(ApiError) as refused:
        managed.apply(live, deployment(replicas=3), by("mgr"), DEPLOYMENT)
    error = refused.value
    assert (error.code, error.reason) == (409, "Conflict")
    text = 'conflict with "kubectl-client-side-apply" using apps/v1'
    assert error.message == f"Apply failed with 1 conflict: {text}: .spec.replicas"
    assert error.status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": text, "field": ".spec.replicas"}
    ]
    with pytest.raises(ApiError, match=r'\.spec\.template\.spec\.containers\[name="web"\]\.image'):
        managed.apply(live, deployment(replicas=1, image="x"), by("mgr"), DEPLOYMENT)
    forced = managed.apply(live, deployment(replicas=3), by("mgr"), DEPLOYMENT, force=True)
    assert forced["spec"]["replicas"] == 3
    owner = entry(forced, "kubectl-client-side-apply")
    assert owner is not None
    assert "f:replicas" not in owner["fieldsV1"]["f:spec"]


def test_no_longer_applied_is_removed() -> None:
    """A field nobody owns any more goes; the object's identity and others' fields stay."""
    live = managed.apply(None, deployment(replicas=2, a="b"), by("one"), DEPLOYMENT)
    less = managed.apply(freeze(live), deployment(replicas=None), by("one"), DEPLOYMENT)
    assert "replicas" not in less["spec"]
    assert "labels" not in less["metadata"]
    assert less["metadata"]["name"] == "web"
    shared = managed.apply(freeze(live), deployment(replicas=2), by("two"), DEPLOYMENT)
    kept = managed.apply(freeze(shared), deployment(replicas=None), by("one"), DEPLOYMENT)
    assert kept["spec"]["replicas"] == 2


def test_unchanged_keeps_times() -> None:
    """A repeated write changes nothing, not even a time."""
    live = freeze(managed.apply(None, deployment(), by("one"), DEPLOYMENT))
    assert managed.apply(live, deployment(), by("one", now=NOW + 60), DEPLOYMENT) == live
    assert managed.track(live, live, by("x", "Update", NOW + 60), DEPLOYMENT) == live["metadata"]["managedFields"]


def test_update_takes_and_removes() -> None:
    """A changed field moves to its writer, a removed one vanishes, status has an entry of its own."""
    live = created(deployment(replicas=1, a="b"))
    new = {**deployment(replicas=5), "status": {"replicas": 5}}
    new["metadata"]["managedFields"] = live["metadata"]["managedFields"]
    entries = managed.track(freeze(new), live, by("hpa", "Update", NOW + 1, "status"), DEPLOYMENT)
    first, second = entries
    assert "f:replicas" not in first["fieldsV1"]["f:spec"]
    assert "f:metadata" not in first["fieldsV1"]
    assert second["subresource"] == "status"
    assert second["fieldsV1"] == {"f:spec": {"f:replicas": {}}, "f:status": {".": {}, "f:replicas": {}}} or (
        second["fieldsV1"]["f:spec"] == {"f:replicas": {}}
    )


def test_update_managers_are_bounded() -> None:
    """Beyond ten, the oldest become ancient-changes."""
    live = created(deployment())
    for number in range(15):
        new = {**live, "metadata": {**live["metadata"], "annotations": {f"a{n}": "x" for n in range(number + 1)}}}
        entries = managed.track(new, live, by(f"m{number}", "Update", NOW + number + 1), DEPLOYMENT)
        live = freeze({**new, "metadata": {**new["metadata"], "managedFields": entries}})
    names = [e["manager"] for e in live["metadata"]["managedFields"]]
    assert len(names) == 10
    assert "ancient-changes" in names


def test_forged_entries_are_ignored() -> None:
    """Entries that are none leave the stored ones; [{}] drops all."""
    live = created(deployment())
    forged = {**live, "metadata": {**live["metadata"], "managedFields": [{"manager": "x", "operation": "Steal"}]}}
    assert managed.track(forged, live, by("x", "Update"), DEPLOYMENT) == live["metadata"]["managedFields"]
    wrong = {**live["metadata"]["managedFields"][0], "manager": "y", "fieldsV1": {"f:spec": {"nonsense": 5}}}
    forged = {**live, "metadata": {**live["metadata"], "managedFields": [wrong], "labels": {"new": "x"}}}
    assert [e["manager"] for e in managed.track(forged, live, by("x", "Update"), DEPLOYMENT)] == [
        "kubectl-client-side-apply",
        "x",
    ]
    reset = {**live, "metadata": {**live["metadata"], "managedFields": [{}]}}
    assert managed.track(reset, live, by("x", "Update"), DEPLOYMENT) == []


def test_unknown_field_is_refused() -> None:
    """As upstream words it."""
    config = deployment()
    config["spec"]["bogus"] = 1
    with pytest.raises(ApiError) as refused:
        checking.check(config, DEPLOYMENT)
    assert refused.value.message == (
        "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): "
        ".spec.bogus: field not declared in schema"
    )


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ([{"a": None, "b": True}], ".spec: expected map, got &{[map[a:<nil> b:true]]}"),
        ({"replicas": [1, "x"]}, ".spec.replicas: expected numeric (int or float), got []interface {}"),
        ({"replicas": "1"}, ".spec.replicas: expected numeric (int or float), got string"),
        ({"replicas": True}, ".spec.replicas: expected numeric (int or float), got bool"),
        ({"paused": "yes"}, ".spec.paused: expected boolean, got &{yes}"),
        (
            {"selector": {"matchLabels": {"a": 587}}},
            ".spec.selector.matchLabels.a: expected string, got &value.valueUnstructured{Value:587}",
        ),
        (
            {"selector": {"matchLabels": {"a": [True, "x", {"b": None}]}}},
            ".spec.selector.matchLabels.a: expected string, got &value.valueUnstructured{Value:[]interface {}{true, "
            '"x", map[string]interface {}{"b":interface {}(nil)}}}',
        ),
        (
            {"template": {"metadata": {"creationTimestamp": ["x"]}}},
            ".spec.template.metadata.creationTimestamp: expected any scalar, got &{[x]}",
        ),
        (
            {"replicas": "1", "paused": 0},
            "errors:\n  .spec.replicas: expected numeric (int or float), got string\n  .spec.paused: expected boolean, got &{0}",
        ),
    ],  # fmt: skip
)
def test_a_value_of_another_type_is_shown(spec: Any, why: str) -> None:
    """As clients know it: they look for these words."""
    with pytest.raises(ApiError) as refused:
        checking.check({**deployment(), "spec": spec}, DEPLOYMENT)
    assert refused.value.message.endswith(f"Kind=Deployment): {why}")
    assert (refused.value.code, refused.value.reason) == (500, "")


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"finalizers": ["a", {}]}, "finalizers: element 1: associative list without keys has an element that's a map type"),
        ({"finalizers": [[]]}, "finalizers: element 0: not supported: associative list with lists as elements"),
        ({"finalizers": [None, {}]},
         "finalizers: element 0: associative list without keys has an element that's an explicit null"),
        ({"ownerReferences": ["a"]}, "ownerReferences: element 0: associative list with keys may not have non-map elements"),
        ({"ownerReferences": [None]},
         "ownerReferences: element 0: associative list with keys may not have a null element"),
        ({"ownerReferences": [{}, 1]},
         "ownerReferences: element 0: associative list with keys has an element that omits all key fields "
         '["uid"] (and doesn\'t have default values for any key fields)'),
    ],
)  # fmt: skip
def test_an_item_that_can_be_no_member(metadata: Any, why: str) -> None:
    """Nothing more is said of a list whose item has no name in it."""
    with pytest.raises(ApiError) as refused:
        checking.check({**deployment(), "metadata": {"name": "web", **metadata}}, DEPLOYMENT)
    assert refused.value.message.endswith(f"Kind=Deployment): .metadata.{why}")


def test_what_may_be_any_scalar() -> None:
    """Quantities, times, and a number or a name; a number's size is somebody else's question."""
    container = {"name": "c", "image": "x", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}
    container |= {"livenessProbe": {"httpGet": {"port": "web"}}, "readinessProbe": {"httpGet": {"port": 80}}}
    template = {"metadata": {"creationTimestamp": None}, "spec": {"containers": [container]}}
    checking.check({**deployment(), "spec": {"replicas": 1.5, "template": template}}, DEPLOYMENT)


def test_a_core_object_is_named_with_its_empty_group() -> None:
    """As upstream prints its group, version and kind."""
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}, "data": {"k": 1}}
    with pytest.raises(ApiError) as refused:
        checking.check(config, schema.definition("io.k8s.api.core.v1.ConfigMap"))
    assert refused.value.message == (
        "failed to create typed patch object (b/a; /v1, Kind=ConfigMap): "
        ".data.k: expected string, got &value.valueUnstructured{Value:1}"
    )


CONTAINERS = st.lists(st.sampled_from("abcd"), unique=True, min_size=1)


@settings(max_examples=60, deadline=None)
@given(first=CONTAINERS, second=CONTAINERS, image=st.sampled_from(["x", "y"]))
def test_apply_is_idempotent(first: list[str], second: list[str], image: str) -> None:
    """Applying twice is applying once; the applier's own items are exactly those it says."""
    configs = []
    for names in (first, second):
        config = deployment()
        config["spec"]["template"]["spec"]["containers"] = [{"name": n, "image": image} for n in names]
        configs.append(config)
    live = freeze(managed.apply(None, configs[0], by("one"), DEPLOYMENT))
    once = freeze(managed.apply(live, configs[1], by("one", now=NOW + 1), DEPLOYMENT))
    twice = managed.apply(once, configs[1], by("one", now=NOW + 2), DEPLOYMENT)
    assert twice == once
    assert [c["name"] for c in once["spec"]["template"]["spec"]["containers"]] == second


def test_objects_of_one_template_have_the_same_fields() -> None:
    """What a spec has is remembered by all that it says: another one is not taken for it."""
    first, again, other = (created(deployment(**said)) for said in ({}, {}, {"replicas": None}))
    fields = [each["metadata"]["managedFields"][0]["fieldsV1"] for each in (first, again, other)]
    assert fields[0] == fields[1] and "f:replicas" in fields[0]["f:spec"]
    assert fields[2] == {"f:spec": {name: below for name, below in fields[0]["f:spec"].items() if name != "f:replicas"}}


ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"


def client_side_applied(obj: dict[str, Any], said: Any = None) -> dict[str, Any]:
    """As `kubectl apply` makes an object: with what it says in an annotation."""
    text = json.dumps(obj) + "\n" if said is None else said
    return created({**obj, "metadata": {**obj["metadata"], "annotations": {ANNOTATION: text}}})


def test_kubectl_goes_over_from_client_side_apply() -> None:
    """What its annotation says is its own; the annotation then says what was applied. Others still conflict."""
    live = client_side_applied(deployment(replicas=1))
    with pytest.raises(ApiError):
        managed.apply(live, deployment(replicas=3), by("mgr"), DEPLOYMENT)
    made = managed.apply(live, deployment(replicas=3, image="a<b"), by("kubectl"), DEPLOYMENT)
    assert made["spec"]["replicas"] == 3
    text = made["metadata"]["annotations"][ANNOTATION]
    assert json.loads(text) == deployment(replicas=3, image="a<b")
    assert text.startswith('{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name"')
    assert text.endswith("}\n") and r"a\u003cb" in text


def test_what_others_changed_since_is_not_kubectls() -> None:
    """A field that is no longer as the annotation says is refused, and only that is named."""
    live = client_side_applied(deployment(replicas=1))
    scaled = managed.apply(live, {**deployment(), "spec": {"replicas": 5}}, by("hpa"), DEPLOYMENT, force=True)
    with pytest.raises(ApiError) as refused:
        managed.apply(freeze(scaled), deployment(replicas=3, image="x"), by("kubectl"), DEPLOYMENT)
    assert refused.value.message == 'Apply failed with 1 conflict: conflict with "hpa": .spec.replicas'


@pytest.mark.parametrize(
    "said",
    ["{", "[]", "7", "[" * 2000, '{"apiVersion":"apps/v1"}', '{"apiVersion":"apps/v2","metadata":{"name":"web"}}', ""],
)
def test_an_annotation_that_says_nothing_usable(said: str) -> None:
    """Such as one for another version: there is a conflict then."""
    live = client_side_applied(deployment(replicas=1), said)
    with pytest.raises(ApiError) as refused:
        managed.apply(live, deployment(replicas=3), by("kubectl"), DEPLOYMENT)
    assert refused.value.code == 409


def test_annotations_that_would_grow_too_large() -> None:
    """The object then loses what was applied last, and keeps the rest."""
    live = client_side_applied(deployment(replicas=1))
    config = deployment(replicas=1)
    config["metadata"]["annotations"] = {"large": "x" * 200_000}
    made = managed.apply(live, config, by("kubectl"), DEPLOYMENT)
    assert set(made["metadata"]["annotations"]) == {"large"}


def test_objects_that_are_written_alike_share_what_says_so() -> None:
    """The field sets of two objects of one sort are one tree, when they are made and when others write to them."""
    one, other = (created({**deployment(), "metadata": {"name": name}}) for name in ("a", "b"))
    for before in (one, other):
        assert entry(before, "kubectl-client-side-apply") is not None
    scaled = [
        managed.track({**before, "spec": {**before["spec"], "replicas": 2}}, before, by("hpa", "Update"), DEPLOYMENT)
        for before in (one, other)
    ]
    assert [e["manager"] for e in scaled[0]] == ["hpa", "kubectl-client-side-apply"]
    for mine, theirs in zip(*scaled, strict=True):
        assert mine["fieldsV1"] is theirs["fieldsV1"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.sampled_from("xyz")), max_size=6))
@settings(max_examples=60, deadline=None)
def test_what_is_remembered_of_writes_changes_nothing(writes: list[tuple[str, int, str]]) -> None:
    """The owners after any writes are the same where nothing is remembered of earlier ones."""

    def owners(*, remembers: bool) -> list[dict[str, Any]]:
        live = created(deployment())
        for manager, replicas, label in writes:
            if not remembers:
                handover._KNOWN.clear()
                fieldset._SHARED.clear()
                managed._KNOWN.clear()
            new = deployment(replicas, **{label: "1"})
            entries = managed.track(new, live, by(manager, "Update"), DEPLOYMENT)
            live = {**new, "metadata": {**new["metadata"], "managedFields": entries}}
        found: list[dict[str, Any]] = live["metadata"]["managedFields"]
        return found

    known = owners(remembers=True)
    assert json.dumps(owners(remembers=False)) == json.dumps(known) == json.dumps(owners(remembers=True))


def test_what_was_written_at_length_is_not_remembered() -> None:
    """An object of many labels leaves nothing when it is gone."""
    handover._KNOWN.clear()
    many = {f"label-{number}": "x" for number in range(handover.MAX_KNOWN_BYTES // 8)}
    live = created(deployment(**many))
    assert managed.track(deployment(2), live, by("b", "Update"), DEPLOYMENT)
    assert not any(len(said) > handover.MAX_KNOWN_BYTES for _, said in handover._KNOWN)
