"""Which API servers there are, how each is reached, and in which order somebody tries them."""

from sampan.client import servers
from sampan.client.servers import Object

LOCAL = "https://127.0.0.1:6443"


def slice(
    name: str, addresses: list[str], port: int, *, ready: bool | None = True, service: str = "kubernetes"
) -> Object:
    labels = {"kubernetes.io/service-name": service}
    endpoints = [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses]
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"metadata": metadata, "endpoints": endpoints, "ports": [{"port": port}]}


def test_what_is_listed() -> None:
    """The endpoints of the Service kubernetes that are ready, of all its slices; other Services' are not meant."""
    found = servers.listed(
        [
            slice("kubernetes", ["10.0.0.2", "10.0.0.1"], 6443),
            slice("kubernetes-6444", ["10.0.0.1"], 6444, ready=None),
            slice("kubernetes-6445", ["10.0.0.3"], 6445, ready=False),
            slice("web", ["10.0.0.4"], 80, service="web"),
            {"metadata": {"name": "odd", "namespace": "default"}, "endpoints": None, "ports": None},
            {**slice("elsewhere", ["10.0.0.5"], 1), "metadata": {"name": "kubernetes", "namespace": "other"}},
        ]
    )
    assert found == (("10.0.0.1", 6443), ("10.0.0.1", 6444), ("10.0.0.2", 6443))


def test_what_others_say() -> None:
    """Slices that bear the label and are not by an API server are not believed; too many servers are cut off."""
    many = [slice(f"kubernetes-{port}", [f"10.0.1.{n}" for n in range(50)], port) for port in range(1, 9)]
    own = slice("kubernetes", ["10.0.0.2", "10.0.0.1"], 6443)
    others = [
        slice("mine", ["203.0.113.1"], 6443),
        slice("kubernetes-1", ["203.0.113.1"], 2),
        slice("kubernetes-", ["203.0.113.1"], 2),
        {**slice("kubernetes-2", ["example.com/x?y"], 2), "addressType": "FQDN"},
    ]
    assert servers.listed([*others, own]) == (("10.0.0.1", 6443), ("10.0.0.2", 6443))
    found = servers.listed([*many, own])
    assert len(found) == servers.MOST
    assert found[:2] == (("10.0.0.1", 6443), ("10.0.0.2", 6443))


def test_which_urls_there_may_be() -> None:
    """What was noted is of use if it can be parsed."""
    assert servers.is_url("https://10.0.0.1:6443")
    assert servers.is_url("https://[fd00::1]:6443")
    for odd in ("https://[bad", "https://x:99999999", "https://x", "https://:1", "http://x:1", "", None, 7):
        assert not servers.is_url(odd)


def test_how_each_is_reached() -> None:
    """What is on one's own machine by loopback, if that is the way to one's own; all else by its address."""
    assert servers.url(LOCAL, "10.244.0.1", "10.244.0.1", 6444) == "https://127.0.0.1:6444"
    assert servers.url(LOCAL, "10.244.0.1", "10.0.0.2", 6443) == "https://10.0.0.2:6443"
    assert servers.url("https://10.0.0.9:6443", "10.244.0.1", "10.244.0.1", 6444) == "https://10.244.0.1:6444"
    assert servers.url("https://10.0.0.9:6443", "", "fd00::1", 6443) == "https://[fd00::1]:6443"
    assert servers.url("https://[::1]:6443", "fd00::1", "fd00::1", 6444) == "https://[::1]:6444"


def test_the_order() -> None:
    """Home is first; of the others each node has an order of its own, so that they share the load."""
    known = [f"https://10.0.0.{n}:6443" for n in range(1, 4)]
    for node in ("a", "b"):
        assert servers.order([LOCAL, *known, known[0]], LOCAL, node)[0] == LOCAL
    assert servers.order(known, "", "a") == servers.order(reversed(known), "", "a")
    firsts = [servers.order(known, "", f"node-{n}")[0] for n in range(60)]
    assert all(firsts.count(server) > 10 for server in known)


def test_where_home_is() -> None:
    """The control plane of one's own machine; for others' nodes a load balancer that they were given, or any."""
    known = ("https://10.0.0.1:6443", "https://10.0.0.2:6443")
    assert servers.home(LOCAL, "10.0.0.1", known) == LOCAL
    assert servers.home(known[0], "10.0.0.1", known) == known[0]
    assert servers.home("https://balancer:6443", "", known) == "https://balancer:6443"
    assert servers.home(known[1], "", known) == ""
