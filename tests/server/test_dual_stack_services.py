"""Services of a cluster with addresses of both families: which they get, keep and give back."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.server.configured import configured
from tests.server.conftest import Api
from tests.server.test_services import ADDRESSES, RANGES, SERVICES, change, held, refused, service

FIRST, SECOND = "10.96.0.0/16", "fd00:10:96::/112"


@pytest.fixture
async def dual() -> AsyncIterator[Api]:
    async with configured(service_cidr=f"{FIRST},{SECOND}") as api:
        yield api


async def made(api: Api, name: str, **spec: Any) -> dict[str, Any]:
    """The spec that it got."""
    got: dict[str, Any] = (await api.create(SERVICES, service(name, **spec)))["spec"]
    return got


async def test_the_default_range_has_both_families(dual: Api) -> None:
    """ServiceCIDR kubernetes, ready; the API's own service has one family all the same."""
    cidr = await dual.get(f"{RANGES}/kubernetes")
    assert cidr["spec"]["cidrs"] == [FIRST, SECOND]
    assert cidr["status"]["conditions"][0]["status"] == "True"
    api = (await dual.get(f"{SERVICES}/kubernetes"))["spec"]
    assert (api["ipFamilies"], api["ipFamilyPolicy"], api["clusterIPs"]) == (["IPv4"], "SingleStack", ["10.96.0.1"])


async def test_a_service_has_one_family_unless_it_asks_for_more(dual: Api) -> None:
    """SingleStack with the first family; PreferDualStack and RequireDualStack with both, each address an IPAddress."""
    single = await made(dual, "single")
    assert (single["ipFamilies"], single["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    assert len(single["clusterIPs"]) == 1
    for policy in ("PreferDualStack", "RequireDualStack"):
        name = policy.lower()
        both = await made(dual, name, ipFamilyPolicy=policy)
        assert both["ipFamilies"] == ["IPv4", "IPv6"]
        first, second = both["clusterIPs"]
        assert both["clusterIP"] == first
        assert second.startswith("fd00:10:96::")
        assert {first, second} <= {address for address, owner in (await held(dual)).items() if owner == name}
    other = await dual.get(f"{ADDRESSES}/{second}")
    assert other["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"] == "IPv6"


async def test_the_order_of_families_is_the_services(dual: Api) -> None:
    """Its first family is that of clusterIP; IPv6 alone is possible too."""
    turned = await made(dual, "turned", ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv6", "IPv4"])
    assert ":" in turned["clusterIP"]
    assert ":" not in turned["clusterIPs"][1]
    alone = await made(dual, "alone", ipFamilies=["IPv6"])
    assert alone["ipFamilyPolicy"] == "SingleStack"
    assert ":" in alone["clusterIP"]


async def test_addresses_that_are_asked_for(dual: Api) -> None:
    """One of them or both; what is taken, or of no range, is refused."""
    asked = ["10.96.7.7", "fd00:10:96::77"]
    both = await made(dual, "both", ipFamilyPolicy="RequireDualStack", clusterIPs=asked, clusterIP=asked[0])
    assert both["clusterIPs"] == asked
    one = await made(dual, "one", ipFamilyPolicy="PreferDualStack", clusterIP="fd00:10:96::ffff")
    assert one["clusterIPs"][0] == "fd00:10:96::ffff"
    assert one["ipFamilies"] == ["IPv6", "IPv4"]
    taken = service(
        "taken", ipFamilyPolicy="RequireDualStack", clusterIPs=["10.96.7.8", asked[1]], clusterIP="10.96.7.8"
    )
    assert "provided IP is already allocated" in await refused(dual, taken)
    assert "10.96.7.8" not in await held(dual)
    outside = service("outside", clusterIP="fd00:10:97::1")
    assert "the provided network does not match the current range" in await refused(dual, outside)


async def test_the_second_family_comes_and_goes_by_an_update(dual: Api) -> None:
    """The first address stays; the second is taken with the upgrade and free after the downgrade."""
    first = (await made(dual, "x"))["clusterIP"]
    both = (await change(dual, "x", {"spec": {"ipFamilyPolicy": "PreferDualStack"}}))["spec"]
    assert both["clusterIPs"][0] == both["clusterIP"] == first
    assert both["ipFamilies"] == ["IPv4", "IPv6"]
    second = both["clusterIPs"][1]
    assert (await held(dual))[second] == "x"
    again = (await change(dual, "x", {"metadata": {"labels": {"a": "b"}}}))["spec"]
    assert again["clusterIPs"] == [first, second]
    single = (await change(dual, "x", {"spec": {"ipFamilyPolicy": "SingleStack"}}))["spec"]
    assert (single["clusterIPs"], single["ipFamilies"]) == ([first], ["IPv4"])
    assert second not in await held(dual)
    assert (await held(dual))[first] == "x"


async def test_both_addresses_go_with_the_service(dual: Api) -> None:
    """Deleted, or made an external name."""
    for name in ("x", "y"):
        await made(dual, name, ipFamilyPolicy="RequireDualStack")
    await dual.delete(f"{SERVICES}/x")
    fields = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy", "selector")
    outside = {**dict.fromkeys(fields), "type": "ExternalName", "externalName": "example.com"}
    await change(dual, "y", {"spec": outside})
    assert not {"x", "y"} & set((await held(dual)).values())
    back = (
        await change(
            dual, "y", {"spec": {"type": "ClusterIP", "externalName": None, "ipFamilyPolicy": "PreferDualStack"}}
        )
    )["spec"]
    assert len(back["clusterIPs"]) == 2


async def test_headless_services_have_families_too(dual: Api) -> None:
    """With a selector as the policy says."""
    bare = await made(dual, "bare", clusterIP="None", ipFamilyPolicy="PreferDualStack")
    assert (bare["clusterIPs"], bare["ipFamilies"]) == (["None"], ["IPv4", "IPv6"])


async def test_without_a_second_range_both_families_cant_be_required() -> None:
    """The reason is said."""
    async with configured() as api:
        wanted = service("x", ipFamilyPolicy="RequireDualStack")
        assert "this cluster is not configured for dual-stack services" in await refused(api, wanted)
        assert len((await made(api, "y", ipFamilyPolicy="PreferDualStack"))["clusterIPs"]) == 1
