"""Small requests over large objects, and documents about many kinds: nobody is held up by them either."""

from typing import Any

import pytest

from sampan.server import aside
from tests.server import stalls
from tests.server.conftest import Api, config_map, pod
from tests.server.custom import CRDS, WIDGETS, crd, establish, gone, spec_schema, version, widget
from tests.server.test_bad_inputs_time import LONGEST_STEP_SECONDS
from tests.server.test_security import MAPS, PODS

Tree = dict[str, Any]

pytestmark = pytest.mark.parametrize("api", ["in-process-memory"], indirect=True)

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
OPEN: Tree = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


async def test_a_definition_of_many_versions(api: Api) -> None:
    """It is established, told of in every document, and goes again."""
    versions = [version(f"v{n}", OPEN, storage=n == 1) for n in range(1, 4001)]
    async with stalls.measured() as found:
        await establish(api, crd(versions=versions))
        listed = await api.get("/apis", accept=AGGREGATED)
        index = await api.get("/openapi/v3")
        await api.create(WIDGETS.replace("v1", "v4000"), widget("w") | {"apiVersion": "example.com/v4000"})
        await api.delete(f"{CRDS}/widgets.example.com")
        await gone(api)
    group = next(item for item in listed["items"] if item["metadata"]["name"] == "example.com")
    assert len(group["versions"]) == 4000
    assert "apis/example.com/v4000" in index["paths"]
    assert found.longest < LONGEST_STEP_SECONDS


async def test_a_large_definition_serves_what_was_written_last(api: Api) -> None:
    """Its kinds follow a change of the schema, and of nothing but the schema they stay the same."""
    many = {f"a{n}": {"type": "string"} for n in range(2000)}
    await establish(api, crd(schema=spec_schema(many)))
    path = f"{CRDS}/widgets.example.com"
    kind = api.app.served.find("example.com", "v1", "widgets")
    await api.patch(path, {"metadata": {"labels": {"a": "b"}}})
    assert api.app.served.find("example.com", "v1", "widgets") is kind
    changed = await api.get(path)
    changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = spec_schema({**many, "b": {"type": "integer"}})

    def count_served() -> None:
        served.append(api.app.served.find("example.com", "v1", "widgets"))

    served: list[Any] = []
    api.app.served.listen(count_served)
    await api.put(path, changed)
    while not served:
        await api.get(path)
    assert (await api.create(WIDGETS, widget("w", {"b": 1})))["spec"] == {"b": 1}


async def test_a_table_of_many_columns(api: Api) -> None:
    columns = [{"name": f"c{n}", "type": "string", "jsonPath": f".spec.a{n}"} for n in range(8000)]
    await establish(api, crd(version={"additionalPrinterColumns": columns}))
    for number in range(10):
        await api.create(WIDGETS, widget(f"w{number}", {"a1": "x"}))
    async with stalls.measured() as found:
        table = await api.get(WIDGETS, accept=TABLE)
    assert table["rows"][0]["cells"][:3] == ["w0", None, "x"]
    assert found.longest < LONGEST_STEP_SECONDS


SELECTORS = {
    "labels": "labelSelector=" + ",".join(f"!k{n}" for n in range(50_000)),
    "fields": "fieldSelector=" + ",".join(f"metadata.name!=k{n}" for n in range(50_000)),
}


@pytest.mark.parametrize("name", SELECTORS)
async def test_a_long_selector(api: Api, name: str) -> None:
    for number in range(100):
        await api.create(MAPS, config_map(f"m{number}"))
    async with stalls.measured() as found:
        listed = await api.get(f"{MAPS}?{SELECTORS[name]}")
    assert len(listed["items"]) >= 100
    assert found.longest < LONGEST_STEP_SECONDS


async def test_a_small_pod_under_large_limits(api: Api) -> None:
    """What a LimitRange adds to each container makes a large object of it."""
    usual = {f"example.com/r{n}": "1" for n in range(5000)}
    limits = {"kind": "LimitRange", "apiVersion": "v1", "metadata": {"name": "a"}}
    limits["spec"] = {"limits": [{"type": "Container", "default": usual}]}  # type: ignore[assignment]
    await api.create("/api/v1/namespaces/default/limitranges", limits)
    async with stalls.measured() as found:
        containers = [{"name": f"c{n}", "image": "x"} for n in range(15)]
        answer = await api.send("POST", PODS, pod("p", containers=containers))
    assert answer.status == 422
    assert found.longest < LONGEST_STEP_SECONDS


async def test_many_node_ports(api: Api) -> None:
    ports = [{"name": f"p{n}", "port": n + 1} for n in range(12_000)]
    service = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "a"}}
    service["spec"] = {"type": "NodePort", "ports": ports}  # type: ignore[assignment]
    async with stalls.measured() as found:
        answer = await api.send("POST", "/api/v1/namespaces/default/services", service)
    assert answer.status == 500
    assert "range is full" in answer.tree["message"]
    assert found.longest < LONGEST_STEP_SECONDS


CHOICES = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
CHOICES |= {"anyOf": [{"required": [f"k{n}"]} for n in range(300)]}


async def test_many_alternatives(api: Api) -> None:
    """Items that fit one of many alternatives are taken; where none fits, the search ends with patience."""
    await establish(api, crd(schema=spec_schema({"a": {"type": "array", "items": CHOICES}})))
    async with stalls.measured() as found:
        await api.create(WIDGETS, widget("w", {"a": [{"k299": 1}] * 5000}))
    assert found.longest < LONGEST_STEP_SECONDS


async def test_what_takes_too_long_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "PATIENCE_ASIDE", 100_000)
    await establish(api, crd(schema=spec_schema({"a": {"type": "array", "items": CHOICES}})))
    answer = await api.send("POST", WIDGETS, widget("w", {"a": [{"none": 1}] * 5000}))
    assert (answer.status, answer.tree["reason"]) == (504, "Timeout")


async def test_many_tolerations(api: Api) -> None:
    """Those of before are looked up among those of after."""
    live = (await api.create(PODS, pod("p")))["spec"].get("tolerations", [])
    more = [*live, *({"key": f"a{n}", "operator": "Exists"} for n in range(20_000))]
    async with stalls.measured() as found:
        added = await api.patch(f"{PODS}/p", {"spec": {"tolerations": more}})
        longer = await api.patch(f"{PODS}/p", {"spec": {"tolerations": [*more, {"key": "b", "operator": "Exists"}]}})
        fewer = await api.patch(f"{PODS}/p", {"spec": {"tolerations": more[1:]}})
    assert (added.status, longer.status, fewer.status) == (200, 200, 422)
    assert found.longest < LONGEST_STEP_SECONDS
