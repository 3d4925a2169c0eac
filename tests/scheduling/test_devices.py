"""Every document holds: of the devices that there are, the claims get the written ones, or the written reason."""

from pathlib import Path
from typing import Any

import pytest
import stock
import yaml
from stock import Stock

from sampan.scheduling.devices import extended

FILE = Path(__file__).parent.parent / "cases" / "scheduling" / "devices" / "allocation.yaml"


def _documents() -> list[Any]:
    return [pytest.param(each, id=each["name"]) for each in yaml.safe_load_all(FILE.read_text())]


def _brief(allocation: Any) -> list[str]:
    """request=device, with the driver and pool where they are not the usual ones."""
    found = []
    for result in allocation["devices"]["results"]:
        place = [part for part in (result["driver"], result["pool"]) if part not in (stock.DRIVER, "p")]
        found.append(f"{result['request']}={'/'.join([*place, result['device']])}")
    return found


@pytest.mark.parametrize("case", _documents())
def test_case(case: Any) -> None:
    """The allocation is the written one."""
    when, then = case["when"], case["then"]
    claims = when.get("claims", [when])
    specs = [stock.spec(each) for each in claims]
    allocations, why = Stock(case["given"]).allocate(specs, when.get("node", "n"), when.get("labels"))
    if "reason" in then:
        assert (allocations, why) == (None, then["reason"])
        return
    assert allocations is not None, why
    assert [name for each in allocations for name in _brief(each)] == then["devices"]
    if "nodeSelector" in then:
        assert [each.get("nodeSelector") for each in allocations] == then["nodeSelector"]
    if "config" in then:
        assert allocations[0]["devices"].get("config", []) == then["config"]
    if "results" in then:
        assert allocations[0]["devices"]["results"] == then["results"]


def _asked(containers: Any, starting: Any = ()) -> extended.Wanted:
    """What a pod gets for x/gpu (of class c): containers by name and amount; those that start first may be sidecars."""
    made = [
        {"name": name, "resources": {"requests": {"cpu": "1", "x/gpu": amount} if amount else {}}}
        for name, amount in containers
    ]
    first = [
        {"name": name, "resources": {"requests": {"x/gpu": amount}}, "restartPolicy": policy}
        for name, amount, policy in starting
    ]
    return extended.wanted({"spec": {"initContainers": first, "containers": made}}, {"x/gpu": "c"})


def _counts(found: extended.Wanted) -> dict[str, int]:
    return {each["name"]: each["exactly"]["count"] for each in found.spec["devices"]["requests"]}


def _mapped(found: extended.Wanted) -> list[str]:
    assert {each["resourceName"] for each in found.mappings} == {"x/gpu"}
    return [f"{each['containerName']}={each['requestName']}" for each in found.mappings]


def test_containers_get_devices_of_their_own() -> None:
    """Each by a request with the number of the container and of the resource in it."""
    found = _asked([("a", "2"), ("b", ""), ("c", "1")])
    assert _counts(found) == {"container-0-request-1": 2, "container-2-request-1": 1}
    assert _mapped(found) == ["a=container-0-request-1", "c=container-2-request-1"]


def test_what_only_starts_uses_what_comes_after() -> None:
    """What it needs beyond that is shared by all that only start: the most that one needs."""
    starting = [("i", "1", ""), ("j", "4", ""), ("s", "1", "Always"), ("k", "5", "")]
    found = _asked([("a", "2")], starting)
    assert _counts(found) == {"container-2-request-0": 1, "container-3-request-0": 3, "container-4-request-1": 2}
    side, own, extra = "container-2-request-0", "container-4-request-1", "container-3-request-0"
    assert _mapped(found) == [
        *(f"s={side}", f"a={own}", f"i={side}"),
        *(f"j={side}", f"j={own}", f"j={extra}", f"k={own}", f"k={extra}"),
    ]


def test_which_class_stands_behind_a_resource() -> None:
    """The newest, of those the first by name; every class stands behind a resource with its own name."""

    def made(name: str, time: str, resource: str = "x/gpu") -> Any:
        return {"metadata": {"name": name, "creationTimestamp": time}, "spec": {"extendedResourceName": resource}}

    classes = [
        made("old", "2026-01-01T00:00:00Z"),
        made("b", "2026-02-01T00:00:00Z"),
        made("a", "2026-02-01T00:00:00Z"),
    ]
    found = extended.mapping([*classes, made("other", "2026-03-01T00:00:00Z", "x/nic")])
    assert (found["x/gpu"], found["x/nic"]) == ("a", "other")
    assert found["deviceclass.resource.kubernetes.io/old"] == "old"
