"""JSON patch, merge patch and strategic merge patch."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.kit.frozen import freeze
from sampan.meta import schema
from sampan.meta.patch import json_patch, merge, strategic
from sampan.meta.status import ApiError

POD = schema.definition("io.k8s.api.core.v1.Pod")
DEPLOYMENT = schema.definition("io.k8s.api.apps.v1.Deployment")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("ab", max_size=1), below, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("old", "patch", "new"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": [1]}], {"a": 1, "b": [1]}),
        ({"a": [1, 2]}, [{"op": "add", "path": "/a/1", "value": 9}], {"a": [1, 9, 2]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": 1}, [{"op": "add", "path": "/b"}, {"op": "replace", "path": "/a"}], {"a": None, "b": None}),
        ({"a/b": {"~": 1}}, [{"op": "replace", "path": "/a~1b/~0", "value": 2}], {"a/b": {"~": 2}}),
        ({"a": 1, "b": 2}, [{"op": "remove", "path": "/a"}], {"b": 2}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
        ({"a": {"x": 1}}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": {"x": 1}, "b": {"x": 1}}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
        ({"a": 1}, [{"op": "test", "path": "/z"}, {"op": "test", "path": "/z", "value": None}], {"a": 1}),
        ({"a": 1}, [{"op": "replace", "path": "/z", "value": 2}], {"a": 1, "z": 2}),
        ({"a": 1}, [{"op": "copy", "from": "/z", "path": "/b"}], {"a": 1, "b": None}),
        ({"a": [1, 2]}, [{"op": "move", "from": "/a/0", "path": "/a/0"}], {"a": [1, 2]}),
        ({"a": [1, {}]}, [{"op": "move", "from": "/a/0", "path": "/a/0/x"}], {"a": [{"x": 1}]}),
        ({"a": [1, 2]}, [{"op": "add", "path": "/a/+1", "value": 9}, {"op": "remove", "path": "/a/-1"}], {"a": [1, 9]}),
        ({"a": 1}, [{"op": "test", "path": "", "value": {"a": 1}}, {"op": "replace", "path": "", "value": {}}], {}),
    ],
)
def test_json_patch(old: Any, patch: Any, new: Any) -> None:
    """Each operation as RFC 6902 says, and as upstream's library has it where that is another matter."""
    assert json_patch.apply(freeze(old), freeze(patch)) == new


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ([{"op": "test", "path": "/a", "value": 2}], 422),
        ([{"op": "test", "path": "/a", "value": True}], 422),
        ([{"op": "remove", "path": "/z"}], 422),
        ([{"op": "replace", "path": "/z/y", "value": 1}], 422),
        ([{"op": "replace", "path": "/l/1", "value": 1}], 422),
        ([{"op": "replace", "path": "", "value": "x"}], 422),
        ([{"op": "replace", "path": ""}], 422),
        ([{"op": "add", "path": "", "value": {}}], 422),
        ([{"op": "remove", "path": ""}], 422),
        ([{"op": "copy", "from": "", "path": "/b"}], 422),
        ([{"op": "move", "from": "/a", "path": ""}], 422),
        ([{"op": "test", "path": "", "value": {}}], 422),
        ([{"op": "test", "path": "/z/y", "value": None}], 422),
        ([{"op": "test", "path": "/l/1", "value": None}], 422),
        ([{"op": "remove", "path": "a"}], 422),
        ([{"op": "add", "path": "/z/y", "value": 1}], 422),
        ([{"op": "move", "from": "/l", "path": "/l/0"}], 422),
        ([{"op": "add", "path": "/l/5", "value": 1}], 422),
        ([{"op": "nope", "path": "/a"}], 422),
        ({"a": 1}, 400),
        ([{"op": "test", "path": "/a", "value": 1}] * 10_001, 413),
        ([{"op": "copy", "from": "/l", "path": "/l/-"}] * 40, 422),
    ],
)
def test_json_patch_refused(patch: Any, code: int) -> None:
    """What cannot be applied is refused, and copies cannot grow without bound."""
    with pytest.raises(ApiError) as refused:
        json_patch.apply({"a": 1, "l": ["x" * 1000]}, patch)
    assert refused.value.code == code


RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("old", "patch", "new"), RFC_7396)
def test_merge_patch(old: Any, patch: Any, new: Any) -> None:
    """The cases of RFC 7396, appendix A."""
    assert merge.merge(freeze(old), freeze(patch)) == new


@given(JSON, JSON)
def test_merge_patch_is_idempotent(old: Any, patch: Any) -> None:
    """Laying the same patch over twice changes no more than once."""
    once = merge.merge(old, patch)
    assert merge.merge(once, patch) == once


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **spec}}


A, B, C, D = ({"name": name, "image": "1"} for name in "abcd")


@pytest.mark.parametrize(
    ("old", "patch", "new"),
    [
        (pod(A, B), pod({"name": "b", "image": "2"}), pod(A, {"name": "b", "image": "2"})),
        (pod(A), pod(B), pod(B, A)),
        (pod(A), pod(A, B), pod(A, B)),
        (pod(A, B, C), pod(C, D, A), pod(B, C, D, A)),
        (pod(A, B), pod({"name": "b", "$patch": "delete"}, C, B), pod(C, B, A)),
        (
            pod(A),
            {"spec": {"containers": [B], "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}]}},
            pod(A, B),
        ),
        (pod(A, B), pod({"name": "a", "$patch": "delete"}), pod(B)),
        (pod(A, B), pod(B, {"$patch": "replace"}), pod(B)),
        (pod(A, B), {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}, pod(B, A)),
        (
            {"metadata": {"finalizers": ["x", "y"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"]}},
            {"metadata": {"finalizers": ["z", "y"]}},
        ),
        (pod(A, nodeName="n"), {"spec": {"nodeName": None}}, pod(A)),
        (
            {"metadata": {"labels": {"a": "1"}}},
            {"metadata": {"labels": {"$patch": "replace", "b": "2"}}},
            {"metadata": {"labels": {"b": "2"}}},
        ),
        ({}, {"metadata": {"labels": {"a": None, "b": "1"}}}, {"metadata": {"labels": {"b": "1"}}}),
    ],
)
def test_strategic(old: Any, patch: Any, new: Any) -> None:
    """Merge keys and directives; what is new comes first, unless the patch says where it belongs."""
    assert strategic.apply(freeze(old), freeze(patch), POD) == new


@pytest.mark.parametrize(
    ("patch", "text"),
    [
        (
            {"spec": {"containers": [B, A], "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}]}},
            "The order in patch list:\n[map[image:1 name:b] map[image:1 name:a]]\n"
            " doesn't match $setElementOrder list:\n[map[name:a] map[name:b]]\n",
        ),
        (
            {"metadata": {"finalizers": ["z"], "$setElementOrder/finalizers": ["x", "y"]}},
            "The order in patch list:\n[z]\n doesn't match $setElementOrder list:\n[x y]\n",
        ),
        (
            {"spec": {"containers": [A], "$setElementOrder/containers": [{"image": "a"}]}},
            "map: map[image:a] does not contain declared merge key: name",
        ),
        (pod({"name": "a", "$patch": "merge"}), "merging lists cannot yet be specified in the patch"),
    ],
)
def test_a_strategic_patch_that_contradicts_itself(patch: Any, text: str) -> None:
    """Refused in upstream's words."""
    old = {**pod(A, B), "metadata": {"finalizers": ["x", "y"]}}
    with pytest.raises(ApiError) as refused:
        strategic.apply(freeze(old), freeze(patch), POD)
    assert (refused.value.code, refused.value.message) == (500, text)


def test_retain_keys() -> None:
    """kubectl's switch of a Deployment to Recreate drops rollingUpdate."""
    old = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic.apply(freeze(old), freeze(patch), DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


@given(st.lists(st.sampled_from("abcd"), unique=True), st.lists(st.sampled_from("abcd"), unique=True))
def test_strategic_reaches_the_wanted_list(old: list[str], new: list[str]) -> None:
    """The patch a client makes from two lists (deletes, items, order) gives the second list."""
    items = [{"name": n, "image": n} for n in new]
    deletes = [{"name": n, "$patch": "delete"} for n in old if n not in new]
    order = [{"name": n} for n in new]
    patch = {"spec": {"containers": items + deletes, "$setElementOrder/containers": order}}
    before = pod(*({"name": n, "image": n} for n in old))
    assert strategic.apply(before, patch, POD) == pod(*items)
