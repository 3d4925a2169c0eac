"""Priority and fairness: who is served, who waits, who is sent away, and what that costs."""

import asyncio
from typing import Any

import pytest

from sampan.kit.clock import SystemClock
from sampan.meta.status import ApiError
from sampan.server import reads
from sampan.server.flow import control, level, schemas
from sampan.server.flow.control import Flow, Ticket
from sampan.server.identity import User
from sampan.server.request_info import RequestInfo
from sampan.web.message import Peer, Pieces, Request, Response
from tests.server.configured import configured
from tests.server.conftest import Api, config_map

MASTER = User("root", groups=("system:masters",))
ELSE = User("jane", groups=("system:authenticated",))
GET = RequestInfo("/api/v1/namespaces/a/pods/p", "get", True, "", "v1", "pods", "a", "p")
LIST = RequestInfo("/api/v1/pods", "list", True, "", "v1", "pods")
JANE = Peer("jane")
FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"


def queued(shares: int = 10, **queuing: int) -> dict[str, Any]:
    response = {"type": "Queue", "queuing": {"queues": 8, "handSize": 2, "queueLengthLimit": 3, **queuing}}
    return {"type": "Limited", "limited": {"nominalConcurrencyShares": shares, "limitResponse": response}}


def schema(name: str, to: str, users: list[str], precedence: int = 100) -> dict[str, Any]:
    rules = {
        "subjects": [{"kind": "User", "user": {"name": user}} for user in users],
        "resourceRules": [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
        ],
    }
    spec = {
        "priorityLevelConfiguration": {"name": to}, "matchingPrecedence": precedence,
        "distinguisherMethod": {"type": "ByUser"}, "rules": [rules],
    }  # fmt: skip
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": spec}


def flow(total: int, levels: dict[str, dict[str, Any]], *given: dict[str, Any], wait_seconds: float = 60) -> Flow:
    made = Flow(SystemClock(), total, wait_seconds)
    for name, spec in levels.items():
        made.take_level(name, {"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": spec})
    for tree in given:
        made.take_schema(tree["metadata"]["name"], tree)
    made.rebuild()
    return made


def test_the_first_schema_by_precedence_decides() -> None:
    """Subjects, verbs, groups, subresources, namespaces and URLs; the last one takes everything."""
    rule = {
        "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "a", "name": "*"}}],
        "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"], "namespaces": ["a"]}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez/*"]}],
    }
    made = schemas.of({"metadata": {"name": "logs"}, "spec": {"rules": [rule]}})
    account = User("system:serviceaccount:a:x", groups=("system:serviceaccounts:a",))
    log = RequestInfo("", "get", True, "", "v1", "pods", "a", "p", "log")
    assert made.matches(account, log)
    assert not made.matches(ELSE, log)
    assert not made.matches(account, GET)
    assert not made.matches(account, RequestInfo("", "get", True, "", "v1", "pods", "b", "p", "log"))
    assert made.matches(account, RequestInfo("/livez/ping", "get"))
    assert not made.matches(account, RequestInfo("/livez", "get"))
    late, early = (schemas.of(schema(n, "l", ["*"], p)) for n, p in (("late", 900), ("early", 10)))
    assert [s.name for s in schemas.ordered((late, early))] == ["early", "late", "catch-all"]


def test_requests_that_no_schema_tells_apart_are_remembered_as_one() -> None:
    """Namespaces come and go. One that a schema names, from then on, is told from the others; long paths are not kept."""
    made = flow(100, {"some": queued()}, schema("all", "some", ["jane"]))
    asked = [RequestInfo(f"/api/v1/namespaces/n{n}/pods", "list", True, "", "v1", "pods", f"n{n}") for n in range(30)]
    assert {made._route_of(ELSE, each).schema.name for each in asked} == {"all"}
    assert made._route_of(ELSE, LIST).schema.name == "all"
    assert len(made._routes) == 2
    long = "a" * (control.MAX_ROUTE_LENGTH + 1)
    for user, info in (
        (ELSE, RequestInfo(f"/{long}", "get")), (ELSE, RequestInfo("/a", long)),
        (User(long), LIST), (User("x", groups=(long[:600], long[600:])), LIST),
        (ELSE, RequestInfo("/api", "list", True, long)), (ELSE, RequestInfo("/api", "list", True, "", "v1", long)),
    ):  # fmt: skip
        made._route_of(user, info)
    assert len(made._routes) == 2
    made._route_of(
        ELSE, RequestInfo(f"/api/v1/namespaces/a/configmaps/{long}", "get", True, "", "v1", "configmaps", "a", long)
    )
    assert len(made._routes) == 3
    named = schema("seven", "some", ["jane"], 50)
    named["spec"]["rules"][0]["resourceRules"][0] |= {"clusterScope": False, "namespaces": ["n7"]}
    made.take_schema("seven", named)
    made._is_stale = True
    made._routes.clear()
    told = [made._route_of(ELSE, each).schema.name for each in (asked[7], *asked)]
    assert told == ["seven", *("seven" if n == 7 else "all" for n in range(30))]


def test_seats_are_shared_out_by_shares() -> None:
    """Nominal limits are rounded up; lendable and borrowing are parts of them; exempt levels have no limit."""
    found = level.limits(
        {
            "a": {"type": "Limited", "limited": {"nominalConcurrencyShares": 30, "lendablePercent": 50}},
            "b": {"type": "Limited", "limited": {"nominalConcurrencyShares": 10, "borrowingLimitPercent": 10}},
            "x": {"type": "Exempt"},
        },
        600,
    )
    assert (found["a"].nominal, found["a"].lendable, found["a"].borrowing) == (450, 225, 600)
    assert (found["b"].nominal, found["b"].borrowing) == (150, 15)
    assert found["x"].is_exempt


def test_a_hand_is_always_the_same_and_has_no_card_twice() -> None:
    """Shuffle sharding."""
    for number in range(200):
        hand = level.deal(level.flow_hash("s", str(number)), 64, 8)
        assert len(set(hand)) == 8
        assert all(0 <= card < 64 for card in hand)
        assert hand == level.deal(level.flow_hash("s", str(number)), 64, 8)


async def test_masters_are_never_kept_waiting() -> None:
    """The exempt level holds whatever comes, while all others are full."""
    made = flow(1, {"l": queued()}, schema("s", "l", ["jane"]))
    held = made.admit(ELSE, GET)
    assert held is not None
    assert made.admit(ELSE, GET) is None
    assert all(made.admit(MASTER, GET) for _ in range(1000))


async def test_who_floods_waits_for_itself() -> None:
    """A flood fills its own queues; somebody else's one request is seated before the flood's next but one."""
    made = flow(1, {"l": queued(queueLengthLimit=50, queues=64)}, schema("s", "l", ["flood", "jane"]))
    flood = User("flood")
    first = made.admit(flood, GET)
    assert first is not None
    served: list[str] = []
    holds: dict[str, Ticket] = {}

    async def ask(user: User, name: str) -> None:
        holds[name] = await made.wait(user, GET)
        served.append(name)

    waiting = [asyncio.ensure_future(ask(flood, f"flood-{n}")) for n in range(20)]
    await asyncio.sleep(0)
    waiting.append(asyncio.ensure_future(ask(ELSE, "jane")))
    await asyncio.sleep(0)
    made.done(first)
    while len(served) < 21:
        await asyncio.sleep(0)
        for name in [n for n in served if n in holds]:
            made.done(holds.pop(name))
    await asyncio.gather(*waiting)
    assert served.index("jane") <= 4
    assert made.busy == 0 == made.waiting


async def test_a_full_queue_and_a_long_wait_are_refused() -> None:
    """429 with Retry-After, and counted with the reason; nothing is left behind."""
    made = flow(1, {"l": queued(queues=1, handSize=1), "r": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 0, "limitResponse": {"type": "Reject"}}}},
        schema("s", "l", ["jane"]), schema("t", "r", ["joe"]))  # fmt: skip
    held = made.admit(ELSE, GET)
    assert held is not None
    waiting = [asyncio.ensure_future(made.wait(ELSE, GET)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as refused:
        await made.wait(ELSE, GET)
    assert (refused.value.code, refused.value.headers["Retry-After"]) == (429, "1")
    assert refused.value.headers["X-Kubernetes-Pf-Flowschema-Uid"] == "uid-s"
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    hurried = flow(1, {"l": queued()}, schema("s", "l", ["jane"]), wait_seconds=0)
    other = hurried.admit(ELSE, GET)
    assert other is not None
    with pytest.raises(ApiError):
        await hurried.wait(ELSE, GET)
    assert hurried.rejected == {("l", "s", "time-out"): 1}
    joe = User("joe")
    assert made.admit(joe, GET) is not None
    with pytest.raises(ApiError):
        await made.wait(joe, GET)
    assert made.rejected == {("l", "s", "queue-full"): 1, ("r", "t", "concurrency-limit"): 1}
    made.done(held)
    assert made.waiting == 0


def test_idle_seats_are_lent_and_assured_ones_are_not() -> None:
    """A busy level takes what others lend, but for the seats kept for flows without one; a lender has what is assured."""
    lender = {"type": "Limited", "limited": {"nominalConcurrencyShares": 50, "lendablePercent": 50}}
    made = flow(
        100, {"lender": lender, "busy": queued(50)}, schema("b", "busy", ["jane"]), schema("l", "lender", ["x"])
    )
    nominal = {each.name: each.limits.nominal for each in made.levels()}
    lender_now = next(each for each in made.levels() if each.name == "lender")
    count = 0
    while made.admit(ELSE, GET) is not None:
        count += 1
    spare = nominal["busy"] // level.SPARE_PART
    assert count == nominal["busy"] + lender_now.limits.lendable - spare
    own = 0
    while made.admit(User("x"), GET) is not None:
        own += 1
    assert own >= lender_now.assured


def test_wide_lists_take_more_seats() -> None:
    """A seat for each hundred objects to look at, ten at most; one object by name takes one."""
    made = flow(100, {})
    made.count = lambda info: 450
    assert made.seats(LIST, "", has_initial_events=False) == 5
    assert made.seats(LIST, "120", has_initial_events=False) == 2
    made.count = lambda info: 10**6
    assert made.seats(LIST, "", has_initial_events=False) == 10
    watch = RequestInfo("/api/v1/pods", "watch", True, "", "v1", "pods")
    assert made.seats(watch, "", has_initial_events=False) == 1
    assert made.seats(watch, "", has_initial_events=True) == 10


async def test_responses_name_their_schema_and_level(api: Api) -> None:
    """The headers bear the uids of the stored objects, and a changed schema holds at once."""
    schemas_now = {s["metadata"]["name"]: s for s in (await api.get(f"{FLOW}/flowschemas"))["items"]}
    levels_now = {s["metadata"]["name"]: s for s in (await api.get(f"{FLOW}/prioritylevelconfigurations"))["items"]}
    answer = await api.send("GET", "/api/v1/namespaces")
    assert answer.headers["x-kubernetes-pf-flowschema-uid"] == schemas_now["exempt"]["metadata"]["uid"]
    assert answer.headers["x-kubernetes-pf-prioritylevel-uid"] == levels_now["exempt"]["metadata"]["uid"]
    own = {"kind": "PriorityLevelConfiguration", "apiVersion": "flowcontrol.apiserver.k8s.io/v1"}
    made = await api.create(
        f"{FLOW}/prioritylevelconfigurations", {**own, "metadata": {"name": "own"}, "spec": queued()}
    )
    tree = schema("own", "own", ["jane"], 2)
    tree = {**tree, "kind": "FlowSchema", "apiVersion": own["apiVersion"], "metadata": {"name": "a-own"}}
    await api.create(f"{FLOW}/flowschemas", tree)
    answer = await api.send("GET", "/api/v1/namespaces", b"", JANE)
    assert answer.headers["x-kubernetes-pf-prioritylevel-uid"] == made["metadata"]["uid"]


async def test_a_level_without_seats_sends_away() -> None:
    """429 over the whole way, for that level alone, and the refusal says when to come again."""
    async with configured() as api:
        api.app.flow.total = 1
        body = {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}
        own = {"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration"}
        await api.create(f"{FLOW}/prioritylevelconfigurations", {**own, "metadata": {"name": "tight"}, "spec": body})
        tree = schema("tight", "tight", ["jane"])
        await api.create(
            f"{FLOW}/flowschemas",
            {**tree, "kind": "FlowSchema", "apiVersion": own["apiVersion"], "metadata": {"name": "tight"}},
        )
        own_flow = api.app.flow
        held = own_flow.admit(ELSE, GET)
        assert held is not None
        answer = await api.send("GET", "/api/v1/namespaces/a/pods", b"", JANE)
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert answer.tree["reason"] == "TooManyRequests"
        await api.create("/api/v1/namespaces/default/configmaps", config_map("masters-go-on"))
        own_flow.done(held)
        assert (await api.send("GET", "/api/v1/namespaces/a/pods", b"", JANE)).status == 403


async def test_a_turn_of_the_event_loop_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of hundreds that come at once few begin before others have their turn; who comes late is not behind them all."""
    monkeypatch.setattr(control, "SEATS_PER_TURN", 4)
    made = flow(100, {"l": queued(queues=64, handSize=4, queueLengthLimit=50)}, schema("s", "l", ["flood", "jane"]))
    made.take_turns()
    flood = User("flood")
    order: list[str] = []
    refused: list[ApiError] = []

    async def ask(user: User) -> None:
        try:
            ticket = made.admit(user, GET) or await made.wait(user, GET)
        except ApiError as error:
            refused.append(error)
            return
        order.append(user.name)
        made.done(ticket)

    coming = [asyncio.ensure_future(ask(flood)) for _ in range(300)] + [asyncio.ensure_future(ask(ELSE))]
    await asyncio.gather(*coming)
    assert order.index("jane") <= 3 * 4
    assert len(order) + len(refused) == 301
    assert len(refused) == 300 - 4 - 4 * 50  # what finds no place in the queues of its hand
    assert {error.code for error in refused} == {429}
    assert made.busy == 0 == made.waiting


async def test_the_last_seats_are_for_those_who_have_none() -> None:
    """A flow that holds what it has for long leaves a seat to another one, and gets that neither by waiting."""
    made = flow(17, {"l": queued(100, queues=64, handSize=4)}, schema("s", "l", ["flood", "jane"]))
    limits = next(each for each in made.levels() if each.name == "l").limits
    assert limits.spare == 2
    flood = User("flood")
    held = 0
    while made.admit(flood, GET) is not None:
        held += 1
    waiting = [asyncio.ensure_future(made.wait(flood, GET)) for _ in range(6)]
    await asyncio.sleep(0.01)
    assert (
        held + sum(each.done() for each in waiting) == limits.nominal - 1
    )  # not the last: it has one that it waited for
    assert made.admit(ELSE, GET) is None
    ticket = await asyncio.wait_for(made.wait(ELSE, GET), 60)
    made.done(ticket)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_long_list_keeps_its_seats_until_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """As does a watch until it has sent what there was at first; then, or when nobody wants them, all seats are free."""
    monkeypatch.setattr(reads, "PIECES_FROM_BYTES", 1000)
    async with configured() as api:
        for n in range(3):
            await api.create("/api/v1/namespaces/default/configmaps", config_map(f"m{n}", k="x" * 1000))
        await grant(api, "jane")
        made = api.app.flow
        maps = "/api/v1/namespaces/default/configmaps"

        async def asked(query: tuple[tuple[str, str], ...] = (), **more: bool) -> Response:
            return await api.app.handle(Request("GET", maps, query, {}, peer=JANE, takes_pieces=True, **more))

        whole = await api.send("GET", maps, b"", JANE)
        answer = await asked()
        assert isinstance(answer.body, Pieces)
        assert made.busy == 1
        body = b"".join([chunk async for chunk in answer.body])
        assert (body, answer.body.length) == (whole.body, len(whole.body))
        assert made.busy == 1
        await answer.body.aclose()
        assert made.busy == 0
        assert isinstance((await asked((("pretty", "true"),))).body, bytes)
        watch: Any = (await asked((("watch", "true"),))).body
        assert made.busy == 1
        frames = aiter(watch)
        await anext(frames)
        rest = asyncio.ensure_future(anext(frames))
        await asyncio.sleep(0.01)
        assert made.busy == 0
        rest.cancel()
        await asyncio.gather(rest, return_exceptions=True)
        await watch.aclose()
        never: Any = (await asked((("watch", "true"),))).body
        assert made.busy == 1
        await never.aclose()
        assert made.busy == 0


async def grant(api: Api, user: str) -> None:
    """May read everything."""
    subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"}
    body = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": user}}
    await api.create(
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {**body, "subjects": [subject], "roleRef": role}
    )
