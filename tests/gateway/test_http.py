"""HTTPRoutes on a real Envoy: which backend a request reaches, and what is changed on the way."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from tests.gateway.world import World, gateway, listener, path, route, to


async def test_paths_headers_methods_and_parameters(made: World) -> None:
    """The most specific match wins: exact paths, longer prefixes by whole elements, methods, headers, parameters."""
    names = ("any", "cart", "exact", "post", "header", "query", "regex")
    backends = [o for name in names for o in await made.serving(name)]
    cart = path("/cart")
    rules = (
        {"backendRefs": [to("any")]},
        {"matches": [cart], "backendRefs": [to("cart")]},
        {"matches": [path("/cart/item", "Exact")], "backendRefs": [to("exact")]},
        {"matches": [{**cart, "method": "POST"}], "backendRefs": [to("post")]},
        {"matches": [{**cart, "headers": [{"name": "X-Kind", "value": "b"}]}], "backendRefs": [to("header")]},
        {
            "matches": [{**cart, "queryParams": [{"name": "v", "type": "RegularExpression", "value": "[0-9]+"}]}],
            "backendRefs": [to("query")],
        },
        {"matches": [path("/i/[a-z]+", "RegularExpression")], "backendRefs": [to("regex")]},
    )
    await made.publish(gateway(), route(*rules), *backends)

    async def by(url: str, method: str = "GET", **headers: str) -> str:
        return str((await made.get(url, method=method, **headers))[1]["by"])

    assert [await by(url) for url in ("/", "/carts", "/cart", "/cart/", "/cart/x")] == [
        "any",
        "any",
        "cart",
        "cart",
        "cart",
    ]
    assert [await by(url) for url in ("/cart/item", "/cart/item/", "/cart/items")] == ["exact", "cart", "cart"]
    assert await by("/cart", "POST") == "post"
    assert await by("/cart", "POST", x_kind="b") == "post"
    assert await by("/cart", x_kind="b") == "header"
    assert [await by(url) for url in ("/cart?v=12", "/cart?v=x", "/cart?w=12")] == ["query", "cart", "cart"]
    assert [await by(url) for url in ("/i/abc", "/i/9", "/i/abc/d")] == ["regex", "any", "any"]


async def test_hostnames(made: World) -> None:
    """Names of listeners and routes meet; the closest listener decides; ports in Host don't matter."""
    backends = [o for name in ("one", "sub", "all") for o in await made.serving(name)]
    door = gateway(
        listener("all"), listener("wild", hostname="*.example.com"), listener("one", hostname="one.example.com")
    )
    await made.publish(
        door,
        route({"backendRefs": [to("one")]}, name="one", parents=[{"name": "main", "sectionName": "one"}]),
        route({"backendRefs": [to("sub")]}, name="sub", parents=[{"name": "main", "sectionName": "wild"}]),
        route(
            {"backendRefs": [to("all")]},
            name="all",
            parents=[{"name": "main", "sectionName": "all"}],
            hostnames=["other.org", "*.example.com"],
        ),
        *backends,
    )
    found = {}
    for host in ("one.example.com:80", "a.b.example.com", "example.com", "other.org", "one.other.org"):
        status, answer = await made.get("/", host)
        found[host] = answer["by"] if status == 200 else status
    assert found == {
        "one.example.com:80": "one",
        "a.b.example.com": "sub",
        "example.com": 404,
        "other.org": "all",
        "one.other.org": 404,
    }


async def test_headers_are_changed_on_both_ways(made: World) -> None:
    """Set, added and removed; percent signs stay what they are; also for one backend only."""

    async def answer(request: web.Request) -> web.Response:
        said = {name: request.headers.getall(name, []) for name in ("X-Set", "X-Add", "X-Gone", "X-Own")}
        return web.json_response(said, headers={"X-Secret": "s", "X-Kept": "k"})

    edits = {
        "set": [{"name": "X-Set", "value": "100%new"}],
        "add": [{"name": "X-Add", "value": "b"}],
        "remove": ["X-Gone"],
    }
    own = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-Own", "value": "%REQ(a)%"}]}}
    filters = [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": edits},
        {
            "type": "ResponseHeaderModifier",
            "responseHeaderModifier": {"remove": ["X-Secret"], "add": [{"name": "X-New", "value": "n"}]},
        },
    ]
    rule = {"filters": filters, "backendRefs": [to("a", filters=[own])]}
    await made.publish(gateway(), route(rule), *await made.serving("a", answer))
    sent = {"X-Set": "old", "X-Add": "a", "X-Gone": "g"}
    async with made.session.get(made.url(), headers=sent) as got:
        said = {name: ",".join(values) for name, values in (await got.json()).items()}
        assert said == {"X-Set": "100%new", "X-Add": "a,b", "X-Gone": "", "X-Own": "%REQ(a)%"}
        assert (got.headers.get("X-Secret"), got.headers["X-Kept"], got.headers["X-New"]) == (None, "k", "n")


REDIRECTS: list[tuple[dict[str, Any], str, str, int]] = [
    ({"scheme": "https"}, "/old/a?b=c", "https://a.example/old/a?b=c", 302),
    ({"scheme": "https", "statusCode": 301}, "/old", "https://a.example/old", 301),
    ({"hostname": "b.example", "statusCode": 307}, "/old", "http://b.example/old", 307),
    ({"port": 8443, "scheme": "https"}, "/old", "https://a.example:8443/old", 302),
    ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/new"}}, "/old/a", "http://a.example/new", 302),
    ({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}, "/old/a", "http://a.example/new/a", 302),
    ({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}, "/old/a", "http://a.example/a", 302),
]


async def test_redirects(made: World) -> None:
    """Scheme, host, port, path and code change as asked; all else stays."""
    for spec, asked, location, status in REDIRECTS:
        rule = {"matches": [path("/old")], "filters": [{"type": "RequestRedirect", "requestRedirect": spec}]}
        await made.publish(gateway(), route(rule))
        async with made.session.get(made.url(asked), headers={"Host": "a.example"}, allow_redirects=False) as got:
            assert (got.headers["Location"], got.status) == (location, status)


REWRITES = [
    (
        "/old",
        {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"},
        {"/old/a?b=c": "/new/a?b=c", "/old": "/new"},
    ),
    ("/old", {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}, {"/old/a": "/a", "/old": "/", "/old/": "/"}),
    ("/", {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new/"}, {"/a": "/new/a"}),
    ("/old", {"type": "ReplaceFullPath", "replaceFullPath": "/one\\1"}, {"/old/a/b?c": "/one\\1?c"}),
]


async def test_rewrites(made: World) -> None:
    """The backend sees another path and host."""
    backends = await made.serving("a")
    for prefix, new, expected in REWRITES:
        rewrite = {"type": "URLRewrite", "urlRewrite": {"hostname": "inside.example", "path": new}}
        rule = {"matches": [path(prefix)], "filters": [rewrite], "backendRefs": [to("a")]}
        await made.publish(gateway(), route(rule), *backends)
        for asked, seen in expected.items():
            _, answer = await made.get(asked)
            assert (answer["path"], answer["headers"]["Host"]) == (seen, "inside.example")


async def test_a_mirror_gets_a_copy_and_its_answer_is_dropped(made: World) -> None:
    """The client sees the backend's answer alone."""
    copies: asyncio.Queue[str] = asyncio.Queue()

    async def shadow(request: web.Request) -> web.Response:
        copies.put_nowait(request.path)
        return web.Response(status=500)

    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": to("shadow")}}
    rule = {"filters": [mirror], "backendRefs": [to("a")]}
    await made.publish(gateway(), route(rule), *await made.serving("a"), *await made.serving("shadow", shadow))
    assert (await made.get("/copied"))[0] == 200
    assert await asyncio.wait_for(copies.get(), 60) == "/copied"


async def test_timeouts_and_retries(made: World) -> None:
    """A slow backend is cut off; one that fails is asked again, as often as the rule says."""
    asked: list[str] = []

    async def slow(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async def failing(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=503 if len(asked) < 3 else 200)

    await made.publish(
        gateway(),
        route(
            {"matches": [path("/slow")], "timeouts": {"request": "100ms"}, "backendRefs": [to("slow")]},
            {
                "matches": [path("/try")],
                "retry": {"codes": [503], "attempts": 2, "backoff": "10ms"},
                "backendRefs": [to("failing")],
            },
            {"matches": [path("/once")], "backendRefs": [to("failing")]},
        ),
        *await made.serving("slow", slow),
        *await made.serving("failing", failing),
    )
    assert (await made.get("/slow"))[0] == 504
    assert ((await made.get("/try"))[0], asked) == (200, ["/try"] * 3)
    asked.clear()
    assert ((await made.get("/once"))[0], asked) == (503, ["/once"])


async def test_nobody_there(made: World) -> None:
    """No route: 404. No backends or none that exists: 500. No ready endpoint: 503."""
    empty = (await made.serving("empty"))[:1]
    rules = (
        {"matches": [path("/none")]},
        {"matches": [path("/missing")], "backendRefs": [to("missing")]},
        {"matches": [path("/empty")], "backendRefs": [to("empty")]},
        {"matches": [path("/zero")], "backendRefs": [to("empty", weight=0)]},
    )
    await made.publish(gateway(), route(*rules), *empty)
    found = [(await made.get(url))[0] for url in ("/else", "/none", "/missing", "/empty", "/zero")]
    assert found == [404, 500, 500, 503, 500]


async def test_half_of_the_requests_fail_where_half_of_the_backends_are_missing(made: World) -> None:
    """The others are served."""
    rule = {"backendRefs": [to("a", weight=1), to("missing", weight=1)]}
    await made.publish(gateway(), route(rule), *await made.serving("a"))
    found = [(await made.get("/"))[0] for _ in range(60)]
    assert set(found) == {200, 500}


HOSTILE = [
    {"matches": [path("/a?b")]},
    {"matches": [path("a")]},
    {"matches": [path("([a-z]{1,200}[0-9]{1,200}){4}", "RegularExpression")]},
    {"matches": [path("(", "RegularExpression")]},
    {
        "filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "b\r\nc: d"}]}}
        ]
    },
    {"filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["Host"]}}]},
    {"filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": [":path"]}}]},
    {
        "filters": [
            {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "\n"}}}
        ]
    },
]


async def test_no_route_makes_envoy_refuse_those_of_others(made: World, caplog: pytest.LogCaptureFixture) -> None:
    """What Envoy would refuse never reaches it."""
    hostile = [
        route({**rule, "backendRefs": [to("a")]}, name=f"bad-{number}", hostnames=["bad.example"])
        for number, rule in enumerate(HOSTILE)
    ]
    await made.publish(gateway(), route({"backendRefs": [to("a")]}), *hostile, *await made.serving("a"))
    assert (await made.get("/"))[0] == 200
    assert "refuses" not in caplog.text


async def test_websockets_pass(made: World) -> None:
    """Both ways."""

    async def echo(request: web.Request) -> web.WebSocketResponse:
        made_socket = web.WebSocketResponse()
        await made_socket.prepare(request)
        async for message in made_socket:
            await made_socket.send_str(f"{message.data}!")
        return made_socket

    await made.publish(gateway(), route({"backendRefs": [to("a")]}), *await made.serving("a", echo))
    async with made.session.ws_connect(made.url()) as link:
        await link.send_str("hello")
        assert await link.receive_str() == "hello!"


@pytest.mark.slow
async def test_weights_over_ten_thousand_requests(made: World) -> None:
    """90 to 10, within five standard deviations: chance alone fails one run of two million."""
    (stable, one), (canary, two) = await made.tally("stable"), await made.tally("canary")
    rule = {"backendRefs": [to("stable", weight=90), to("canary", weight=10)]}
    await made.publish(gateway(), route(rule), *one, *two)
    await made.many(10_000)
    assert stable.count + canary.count == 10_000
    assert 850 <= canary.count <= 1150


async def test_a_redirect_to_another_scheme_takes_its_port(made: World) -> None:
    """The one in Host belongs to the listener."""
    to_https = {"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}]}
    named = route(to_https, name="named", hostnames=["a.example"])
    await made.publish(gateway(listener(port=8080)), route(to_https), named)

    async def location(host: str) -> str:
        sent = {"Host": host}
        async with made.session.get(made.url("/x", 8080), headers=sent, allow_redirects=False) as answer:
            return answer.headers["Location"]

    assert [await location(host) for host in ("a.example", "a.example:8080", "b.example", "b.example:8080")] == [
        "https://a.example/x",
        "https://a.example/x",
        "https://b.example/x",
        "https://b.example:443/x",
    ]
