"""Field validation says what upstream's decoder says, and changes what it changes."""

from typing import Any

import pytest

from sampan.kit import frozen
from sampan.meta import fields, keeping, schema
from sampan.meta.schema import Type
from sampan.meta.wire import json, protobuf

DEPLOYMENT = schema.definition("io.k8s.api.apps.v1.Deployment")
LEASE = schema.definition("io.k8s.api.coordination.v1.Lease")
POD = schema.definition("io.k8s.api.core.v1.Pod")
SECRET = schema.definition("io.k8s.api.core.v1.Secret")


def in_container(container: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


def test_a_fitting_body_is_returned_as_it_is() -> None:
    """Nothing is copied when nothing has to change, also for deep-frozen trees."""
    body = frozen.freeze({"metadata": {"name": "a", "labels": {"a": "b"}}, "spec": {"replicas": 0, "paused": True}})
    kept, unknown = fields.conform(body, DEPLOYMENT)
    assert kept is body
    assert unknown == []


def test_zeros_that_mean_nothing_are_dropped() -> None:
    """As Go's `omitempty` does: JSON and protobuf of the same object are stored alike. Those of pointers stay."""
    spec = {"replicas": 0, "paused": False, "minReadySeconds": 0}
    assert fields.conform({"spec": spec}, DEPLOYMENT) == ({"spec": {"replicas": 0}}, [])
    container = {
        "name": "", "image": "", "env": [{"name": "A", "value": ""}], "securityContext": {"privileged": False},
        "livenessProbe": {"httpGet": {"path": "", "port": 0}, "failureThreshold": 0},
    }  # fmt: skip
    assert fields.prune(in_container(container), DEPLOYMENT) == in_container({
        "name": "", "env": [{"name": "A"}], "securityContext": {"privileged": False},
        "livenessProbe": {"httpGet": {"port": 0}},
    })  # fmt: skip
    assert fields.prune({"data": {"a": ""}, "type": "", "immutable": False}, SECRET) == {
        "data": {"a": ""}, "immutable": False}  # fmt: skip


@pytest.mark.parametrize("spec", [{"paused": 0}, {"paused": ""}, {"minReadySeconds": False}, {"minReadySeconds": ""}])
def test_a_zero_of_another_type_is_refused(spec: dict[str, Any]) -> None:
    """It is no zero of the field."""
    with pytest.raises(fields.Mismatch, match="cannot unmarshal"):
        fields.conform({"spec": spec}, DEPLOYMENT)


def test_unknown_fields_are_named_and_dropped() -> None:
    """Each has its path with indices, in document order."""
    body = {"spec": {"foo": 1, "template": {"spec": {"containers": [{"name": "a", "bar": {"x": 1}}]}}}, "top": None}
    assert fields.check(body, DEPLOYMENT) == [
        'unknown field "spec.foo"',
        'unknown field "spec.template.spec.containers[0].bar"',
        'unknown field "top"',
    ]
    assert fields.prune(body, DEPLOYMENT) == in_container({"name": "a"})
    assert "foo" in body["spec"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"spec": {"replicas": "x"}},
         "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
        ({"spec": {"replicas": 1.5}},
         "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32"),
        ({"spec": {"replicas": 2**31}},
         "json: cannot unmarshal number 2147483648 into Go struct field DeploymentSpec.spec.replicas of type int32"),
        ({"spec": {"paused": "yes"}},
         "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.paused of type bool"),
        ({"metadata": {"labels": {"a": 1}}},
         "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"),
        ({"spec": {"template": {"spec": {"containers": {}}}}},
         "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container"),
        (in_container({"env": [{"name": "a", "value": True}]}),
         "json: cannot unmarshal bool into Go struct field EnvVar.spec.template.spec.containers.env.value of type string"),
        ({"spec": []}, "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec"),
        ([], "json: cannot unmarshal array into Go value of type v1.Deployment"),
        (in_container({"resources": {"limits": {"cpu": "lots"}}}),
         "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        ({"metadata": {"creationTimestamp": "2020-01"}},
         'parsing time "2020-01" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "-"'),
        ({"spec": {"strategy": {"rollingUpdate": {"maxSurge": True}}}},
         "json: cannot unmarshal bool into Go value of type int32"),
    ],
)  # fmt: skip
def test_wrong_types_are_refused_in_gos_words(body: Any, text: str) -> None:
    """Clients show these texts."""
    with pytest.raises(fields.Mismatch) as caught:
        fields.conform(body, DEPLOYMENT)
    assert str(caught.value) == text
    error = fields.mismatch_error(caught.value, "Deployment", "v1")
    assert error.code == 400
    assert error.message == f'Deployment in version "v1" cannot be handled as a Deployment: {text}'


def test_base64_is_checked() -> None:
    """Secret data must be standard base64."""
    assert fields.conform({"data": {"a": "YWJj", "b": ""}}, SECRET)[1] == []
    for text, at in (("!!", 0), ("YW=j", 2), ("YWJ", 0)):
        with pytest.raises(fields.Mismatch, match=f"illegal base64 data at input byte {at}"):
            fields.conform({"data": {"a": text}}, SECRET)


def test_quantities_are_kept_in_canonical_form() -> None:
    """Numbers become text, 1000m becomes 1, spaces around are forgiven."""
    body = in_container({"resources": {"limits": {"cpu": " 1000m ", "memory": 1024, "x": "1Gi", "y": 0.5}}})
    kept = fields.prune(body, DEPLOYMENT)
    assert kept == in_container({"resources": {"limits": {"cpu": "1", "memory": "1024", "x": "1Gi", "y": "500m"}}})


def test_what_a_resource_list_holds_is_rounded_up_to_thousandths() -> None:
    """As upstream's defaults do, whether given as text or as a number; a device's capacity keeps what it says."""
    asked = {"limits": {"cpu": "1u", "memory": "1"}, "requests": {"cpu": "1.1234", "memory": "1.125"}}
    kept = {"limits": {"cpu": "1m", "memory": "1"}, "requests": {"cpu": "1124m", "memory": "1.125"}}
    assert fields.prune(in_container({"resources": asked}), DEPLOYMENT) == in_container({"resources": kept})
    body = in_container({"resources": {"limits": {"cpu": 0.0001}}})
    assert fields.prune(body, DEPLOYMENT) == in_container({"resources": {"limits": {"cpu": "1m"}}})
    device = schema.definition("io.k8s.api.resource.v1.CapacityRequirements")
    assert keeping.keep({"requests": {"x": "1u"}}, device) == {"requests": {"x": "1u"}}


def test_times_are_kept_in_utc() -> None:
    """Whole seconds in a Time, six digits in a MicroTime, as Go reads and writes them."""
    event = schema.definition("io.k8s.api.core.v1.Event")
    given = {"firstTimestamp": "2026-01-01T02:00:00.75+02:00", "eventTime": "2026-01-01T02:00:00,500000+02:00"}
    kept = {"firstTimestamp": "2026-01-01T00:00:00Z", "eventTime": "2026-01-01T00:00:00.500000Z"}
    assert fields.prune(given, event) == kept
    assert fields.prune(kept, event) is kept
    for text in ("2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01 00:00:00Z", "0000-01-01T00:00:00Z", "x"):
        with pytest.raises(fields.Mismatch, match="parsing time"):
            fields.prune({"firstTimestamp": text}, event)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("2026-01-01T00:00:00Z", "Z"),
        ("2026-01-01T00:00:00+01:00", "+01:00"),
        ("2026-01-01T00:00:00.5Z", ".5Z"),
    ],
)
def test_a_micro_time_has_six_digits(text: str, rest: str) -> None:
    """As Go's layout asks for; the text says what stands in their place."""
    with pytest.raises(fields.Mismatch) as caught:
        fields.prune({"spec": {"renewTime": text}}, LEASE)
    form = "2006-01-02T15:04:05.000000Z07:00"
    assert str(caught.value) == f'parsing time "{text}" as "{form}": cannot parse "{rest}" as ".000000"'


def test_a_micro_time_keeps_its_digits_in_any_year() -> None:
    """No rounding far from now, neither here nor in protobuf."""
    text = "2903-05-20T15:06:46.965615Z"
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"renewTime": text}}
    east = {"spec": {"renewTime": "2903-05-20T16:06:46.965615+01:00"}}
    assert fields.prune(east, LEASE)["spec"]["renewTime"] == text
    assert protobuf.decode(protobuf.encode(lease)) == lease


def test_nulls_mean_absent() -> None:
    """A null field is dropped; a null item is the zero value."""
    body = {
        "metadata": {"creationTimestamp": None, "labels": {"a": None}},
        "spec": {"containers": [None], "volumes": None},
    }
    assert fields.prune(body, POD) == {"metadata": {"labels": {"a": ""}}, "spec": {"containers": [{}]}}


def test_strict_texts_come_in_document_order() -> None:
    """Unknown and duplicate fields of a JSON body are listed together; an unknown one is not a duplicate as well."""
    body = (
        b'{"spec":{"unknown1":1,"unknownDupe":1,"unknownDupe":2,"paused":true,"paused":false,'
        b'"template":{"spec":{"containers":[{"unknownNested":1,"image":"a","image":"b"}]}}}}'
    )
    tree, duplicates = json.decode_strict(body)
    texts = fields.in_document_order(tree, fields.check(tree, DEPLOYMENT), duplicates)
    error = fields.strict_error(texts, "Deployment", "v1")
    assert error.message == (
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
        'unknown field "spec.unknown1", unknown field "spec.unknownDupe", duplicate field "spec.paused", '
        'unknown field "spec.template.spec.containers[0].unknownNested", '
        'duplicate field "spec.template.spec.containers[0].image"'
    )


def test_yaml_duplicates_come_first() -> None:
    """They name lines, not paths."""
    assert fields.in_document_order({"a": 1}, ['unknown field "a"'], ["yaml: x"]) == ["yaml: x", 'unknown field "a"']


def test_custom_resources_may_keep_unknown_fields() -> None:
    """x-kubernetes-preserve-unknown-fields is heeded at every level; nullable keeps null."""
    kind = Type.from_crd(
        {
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {
                "spec": {"type": "object", "properties": {"a": {"type": "integer", "nullable": True}}},
            },
        }
    )
    body = {"extra": {"x": None}, "spec": {"a": None, "b": 1}}
    assert fields.conform(body, kind) == ({"extra": {"x": None}, "spec": {"a": None}}, ['unknown field "spec.b"'])


def test_every_type_compiles() -> None:
    """The quick pass of each definition accepts an empty value of its kind."""
    for name in schema.definitions():
        kind = schema.definition(name)
        if kind.kind == "object":
            assert keeping.keep({}, kind) == {}


def test_what_means_nothing_is_dropped_at_once() -> None:
    """Nulls, and zeros and lists that say nothing, need no second pass; what is kept is shared, what was given is left."""
    spec = {"containers": [{"name": "c", "resources": {"limits": {"memory": "1024Mi"}}, "args": []}], "nodeName": ""}
    pod = {"metadata": {"name": "a", "creationTimestamp": None, "labels": {"x": "y"}}, "spec": spec}
    before = json.encode(pod)
    kept = keeping.keep(pod, POD)
    assert json.encode(pod) == before
    assert kept == {
        "metadata": {"name": "a", "labels": {"x": "y"}},
        "spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "1Gi"}}}]},
    }
    assert kept["metadata"]["labels"] is pod["metadata"]["labels"]


def test_what_is_known_is_not_looked_at_again() -> None:
    """Parts that are shared with a kept object pass as they are; the others are looked at as ever."""
    strange = {"containers": [{"name": "c"}], "unknown": 1}
    known = {"metadata": {"name": "a"}, "spec": strange, "status": {"conditions": [{"type": "x", "unknown": 1}]}}
    same = {**known, "status": {"phase": None, "conditions": list(known["status"]["conditions"])}}
    assert fields.conform(same, POD, known=known) == (
        {**same, "status": {"conditions": [{"type": "x", "unknown": 1}]}},
        [],
    )
    other = {**known, "spec": {**strange, "unknown": 2}}
    assert fields.conform(other, POD, known=known)[1] == [
        'unknown field "spec.unknown"',
        'unknown field "status.conditions[0].unknown"',
    ]
