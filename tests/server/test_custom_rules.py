"""Validation rules in CEL on custom objects."""

from typing import Any

from tests.server.conftest import Api
from tests.server.custom import CRDS, WIDGETS, crd, establish, spec_schema, widget

Tree = dict[str, Any]
RULES = "x-kubernetes-validations"


def causes(answer: Any) -> list[str]:
    """field: message of each cause."""
    return [f"{cause['field']}: {cause['message']}" for cause in answer.tree["details"]["causes"]]


def ruled(properties: Tree, *rules: Tree) -> Tree:
    """A schema with rules on spec."""
    return spec_schema(properties, **{RULES: list(rules)})


INTEGER = {"type": "integer"}
BOUNDED = {"type": "string", "maxLength": 20}


async def test_a_rule_is_asked(api: Api) -> None:
    """A rule that is false refuses with its message, reason and field."""
    rules = [
        {"rule": "self.min <= self.max", "message": "min is at most max"},
        {"rule": "self.max < 100", "reason": "FieldValueForbidden", "fieldPath": ".max", "message": "too much"},
        {"rule": "self.min >= 0", "messageExpression": "self.min < -5 ? 'far too small' : 'too small'"},
        {"rule": "self.max != 13"},
    ]
    await establish(api, crd(schema=ruled({"min": INTEGER, "max": INTEGER}, *rules)))
    assert (await api.send("POST", WIDGETS, widget("ok", {"min": 1, "max": 2}))).status == 201
    refused = await api.send("POST", WIDGETS, widget("w", {"min": 200, "max": 150}))
    assert causes(refused) == [
        'spec: Invalid value: "object": min is at most max',
        "spec.max: Forbidden: too much",
    ]
    refused = await api.send("POST", WIDGETS, widget("w", {"min": -1, "max": 13}))
    assert causes(refused) == [
        'spec: Invalid value: "object": too small',
        'spec: Invalid value: "object": failed rule: self.max != 13',
    ]


async def test_rules_wait_for_a_sound_object(api: Api) -> None:
    """Where types are wrong, rules are not asked, and that is told."""
    await establish(api, crd(schema=ruled({"a": INTEGER}, {"rule": "self.a > 0"})))
    refused = await api.send("POST", WIDGETS, widget("w", {"a": "x"}))
    assert causes(refused) == [
        'spec.a: Invalid value: "string": spec.a in body must be of type integer: "string"',
        (
            '<nil>: Invalid value: "null": some validation rules were not checked because the object was invalid; '
            "correct the existing errors to complete validation"
        ),
    ]


async def test_transition_rules(api: Api) -> None:
    """A rule with oldSelf is asked on updates only; with optionalOldSelf also before there is an old value."""
    properties = {
        "fixed": BOUNDED | {RULES: [{"rule": "self == oldSelf", "message": "fixed is immutable"}]},
        "born": INTEGER | {RULES: [{"rule": "oldSelf.hasValue() || self == 1", "optionalOldSelf": True}]},
    }
    await establish(api, crd(schema=spec_schema(properties)))
    refused = await api.send("POST", WIDGETS, widget("w", {"fixed": "a", "born": 2}))
    assert causes(refused) == ['spec.born: Invalid value: "integer": failed rule: oldSelf.hasValue() || self == 1']
    await api.create(WIDGETS, widget("w", {"fixed": "a", "born": 1}))
    changed = await api.patch(f"{WIDGETS}/w", {"spec": {"born": 7}})
    assert changed.status == 200
    refused = await api.patch(f"{WIDGETS}/w", {"spec": {"fixed": "b"}})
    assert causes(refused) == ['spec.fixed: Invalid value: "string": fixed is immutable']


async def test_rules_ratchet(api: Api) -> None:
    """A rule that came later does not stop updates of what it is not about."""
    made = await establish(api, crd(schema=spec_schema({"a": INTEGER, "b": INTEGER})))
    await api.create(WIDGETS, widget("w", {"a": 1, "b": 1}))
    stricter = spec_schema({"a": INTEGER | {RULES: [{"rule": "self > 5"}]}, "b": INTEGER})
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = stricter
    await api.put(f"{CRDS}/widgets.example.com", made)
    assert (await api.patch(f"{WIDGETS}/w", {"spec": {"b": 2}})).status == 200
    assert (await api.patch(f"{WIDGETS}/w", {"spec": {"a": 2}})).status == 422
    assert (await api.patch(f"{WIDGETS}/w", {"spec": {"a": 6}})).status == 200


async def test_rules_in_lists_and_maps(api: Api) -> None:
    """Items of a list of type map are compared with the item of the same key; maps by their keys."""
    item = {
        "type": "object", "required": ["name"], "properties": {"name": BOUNDED, "v": INTEGER},
        RULES: [{"rule": "self.v >= oldSelf.v", "message": "v never falls"}],
    }  # fmt: skip
    properties = {
        "list": {
            "type": "array", "maxItems": 10, "items": item, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
        "map": {
            "type": "object", "maxProperties": 10, "additionalProperties": INTEGER | {RULES: [{"rule": "self < 10"}]},
        },
    }  # fmt: skip
    await establish(api, crd(schema=spec_schema(properties)))
    await api.create(WIDGETS, widget("w", {"list": [{"name": "a", "v": 5}, {"name": "b", "v": 1}], "map": {"x": 1}}))
    refused = await api.patch(f"{WIDGETS}/w", {"spec": {"list": [{"name": "b", "v": 2}, {"name": "a", "v": 4}]}})
    assert causes(refused) == ['spec.list[1]: Invalid value: "object": v never falls']
    refused = await api.patch(f"{WIDGETS}/w", {"spec": {"map": {"y": 11}}})
    assert causes(refused) == ['spec.map[y]: Invalid value: "integer": failed rule: self < 10']


async def test_rules_at_the_root_see_names(api: Api) -> None:
    """The root's rules see metadata.name, and their complaints stand at <nil>."""
    schema = {"type": "object", RULES: [{"rule": "self.metadata.name.startsWith('w')", "message": "starts with w"}]}
    await establish(api, crd(schema=schema))
    assert (await api.send("POST", WIDGETS, widget("w1"))).status == 201
    refused = await api.send("POST", WIDGETS, widget("x1"))
    assert causes(refused) == ['<nil>: Invalid value: "object": starts with w']


async def test_rules_must_compile(api: Api) -> None:
    """What is wrong with a rule is told with the definition."""
    schema = ruled(
        {"a": INTEGER, "list": {"type": "array", "items": INTEGER | {RULES: [{"rule": "self > oldSelf"}]}}},
        {"rule": "self.b > 1"},
        {"rule": "self.a"},
        {"rule": "self.a > 1", "messageExpression": "self.a"},
        {"rule": "self.a > 1", "optionalOldSelf": True},
        {"rule": "  "},
    )
    refused = await api.send("POST", CRDS, crd(schema=schema))
    path = "spec.validation.openAPIV3Schema.properties[spec]"
    assert f"{path}.{RULES}[4].rule: Required value: rule is not specified" in causes(refused)
    schema["properties"]["spec"][RULES].pop()
    found = causes(await api.send("POST", CRDS, crd(schema=schema)))
    within = f"{path}.properties[list]"
    text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {within}"
    assert f'{within}.items.{RULES}[0].rule: Invalid value: "self > oldSelf": {text}' in found
    told = "\n".join(found)
    assert "compilation failed: ERROR: <input>:1:5: undefined field 'b'" in told
    assert "cel expression must evaluate to a bool" in told
    assert "messageExpression must evaluate to a string" in told
    assert (
        f"{path}.{RULES}[3].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"
        in found
    )


async def test_expensive_rules_are_refused(api: Api) -> None:
    """B16: a rule whose estimated cost is over the limit is refused with the definition."""
    names = {"type": "array", "items": {"type": "string"}}
    schema = ruled({"names": names}, {"rule": "self.names.all(a, self.names.all(b, a.contains(b)))"})
    refused = await api.send("POST", CRDS, crd(schema=schema))
    assert refused.status == 422
    path = "spec.validation.openAPIV3Schema.properties[spec]"
    advice = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    assert causes(refused) == [
        f"{path}.{RULES}[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {advice}",
        (
            f"{path}.{RULES}[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire "
            "OpenAPIv3 schema"
        ),
        (
            "spec.validation.openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire "
            f"OpenAPIv3 schema exceeds budget by factor of more than 100x {advice}"
        ),
    ]


async def test_defaults_obey_rules(api: Api) -> None:
    """B16: a default that a rule refuses is refused with the definition."""
    schema = spec_schema({"a": INTEGER | {"default": 0, RULES: [{"rule": "self > 0", "message": "positive"}]}})
    refused = await api.send("POST", CRDS, crd(schema=schema))
    path = "spec.validation.openAPIV3Schema.properties[spec].properties[a].default"
    assert causes(refused) == [f'{path}: Invalid value: "integer": positive']
