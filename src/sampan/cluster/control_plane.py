"""The control plane process: API server, store, controllers and scheduler, in one event loop.

    python -m sampan.cluster.control_plane DIR [READY_FD]

It needs no root. What it has done is written to READY_FD, one line each, for `sampan up`:
`keys`, `api`, `controllers`, `node NAME`. SIGTERM stops it; a kill at any moment loses no
acknowledged write.
"""

import asyncio
import contextlib
import dataclasses
import errno
import functools
import gc
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from sampan.cluster import (
    candidate,
    first_use,
    key_files,
    key_renewal,
    kubeconfig,
    log_format,
    migration,
    outward,
    pki,
    processes,
    scheduler_config,
    server_config,
    stores,
    wiring,
    workers,
)
from sampan.cluster.enabled_layers import EnabledLayers
from sampan.cluster.in_process import InProcessTransport
from sampan.cluster.settings import Settings, load
from sampan.control.election import Terms
from sampan.kinds import builtin
from sampan.kinds.core.node import NODE
from sampan.kit import descriptors, heap, threads
from sampan.kit.clock import SystemClock, wait_jump
from sampan.kit.ids import SystemIds
from sampan.kit.tasks import Tasks
from sampan.kit.version import VERSION
from sampan.meta import conditions, objects
from sampan.server import bootstrap, process_metrics, request_info, server_metrics
from sampan.server.api_servers import ApiServers
from sampan.server.app import App, Parts, on_error
from sampan.server.audit.log import Sink
from sampan.server.cache import Change
from sampan.server.config import ServerConfig
from sampan.server.node_dialer import HttpsDialer
from sampan.server.outbound import Outbound
from sampan.store.compaction import Compaction
from sampan.store.etcd_address import is_etcd
from sampan.store.protocol import Store, StoreError
from sampan.web.listener import Address, Listener, bind, client_context, server_context

LOG = logging.getLogger("sampan")
GC_YOUNG_OBJECTS = 50_000


class ListenError(Exception):
    """The API can't be served where it is to be: where, why, and what to do."""

    status = 1


class PortTakenError(ListenError):
    """Somebody else listens there, which whoever chose the port without being asked may mend."""

    status = processes.PORT_TAKEN


class Notifier:
    """Tells `sampan up` how far we are; silent when nobody asked."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def tell(self, line: str) -> None:
        """One line. A reader that went away is not our concern."""
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, f"{line}\n".encode())
        except OSError:
            self.close()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class ControlPlane:
    """Everything of one cluster but its nodes."""

    def __init__(self, settings: Settings, notifier: Notifier, bound: socket.socket | None = None) -> None:
        self._settings, self._bound = settings, bound
        self._notifier = notifier
        self._clock, self._ids = SystemClock(), SystemIds()
        self._tasks = Tasks("control plane")
        self._closers: list[Callable[[], Awaitable[None]]] = []

    async def run(self) -> None:
        """Until SIGTERM or SIGINT, or a failure of ours, also while it starts."""
        await threads.prepare()
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        ends = [
            asyncio.ensure_future(stopped.wait()),
            asyncio.ensure_future(self._tasks.wait()),
            asyncio.ensure_future(self._start()),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if ends[2].done() and not ends[2].exception():
                await asyncio.wait(ends[:2], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._stop()
        for end in ends:
            if end.done() and not end.cancelled():
                end.result()
            end.cancel()

    async def _start(self) -> None:
        """Everything in its order; what has started is noted for `_stop`."""
        settings = self._settings
        keys = pki.ensure(settings, self._clock.now())
        kubeconfig.write(settings.path("kubeconfig"), kubeconfig.build(settings), is_ours=True)
        self._notifier.tell("keys")
        store = await self._store()
        self._closers.append(store.close)
        self._closers.append(self._tasks.close)
        tls = {key_files.SERVER: _server_tls(keys), key_files.KUBELET_CLIENT: _agent_tls(keys)}
        dialer = HttpsDialer(tls[key_files.KUBELET_CLIENT])
        self._closers.append(dialer.close)
        way_out = outward.outbound(settings)
        self._closers.append(way_out.close)
        app = self._app(store, keys, dialer, way_out)
        await app.start()
        compaction = Compaction(store, self._clock).tell(app.cache.forget)
        self._tasks.spawn((compaction.share() if is_etcd(settings.store) else compaction).run(), "compaction")
        self._tasks.spawn(app.rewrite(), "encryption")
        shown: dict[str, tuple[key_renewal.User, ...]] = {
            key_files.SERVER: (tls[key_files.SERVER],),
            key_files.FRONT_PROXY: (way_out,),
        }
        shown[key_files.KUBELET_CLIENT] = (tls[key_files.KUBELET_CLIENT], way_out)
        self._tasks.spawn(key_renewal.run(settings, self._clock, shown), "certificates")
        process_metrics.add(app.metrics)
        self._tasks.spawn(process_metrics.LoopLag(app.metrics, self._clock).run(), "loop lag")
        self._tasks.spawn(heap.run(self._clock), "heap", critical=False)
        listener = Listener(app.handle, on_error, tls[key_files.SERVER], request_info.is_proxied)
        server_metrics.handshakes(app.metrics, listener.handshakes)
        self._closers.append(listener.close)
        self._closers.append(app.close)
        around = self._around(keys)
        added = EnabledLayers(app, around, functools.partial(InProcessTransport, app), way_out)
        added.judge()  # before anybody is answered
        await self._listen(listener)
        await self._bootstrap(app, store)
        self._notifier.tell("api")
        authority = (keys / f"{key_files.AUTHORITY}.crt").read_text()
        working = workers.workers(app, authority, around)
        self._closers.append(working.stop)
        await working.start()
        self._tasks.spawn(self._follow_clock(working), "jumps of the clock")
        self._closers.append(added.stop)
        await self._end_left_behind(added)
        added.start()
        self._notifier.tell("controllers")
        self._announce_nodes(app)
        LOG.info("the control plane of %s is up at %s", settings.name, settings.server_url)

    async def _follow_clock(self, working: workers.Steady | workers.Elected) -> None:
        """Jobs whose time has come while the machine slept are not late by as much as it slept."""
        while await wait_jump(self._clock):
            working.hurry()

    async def _end_left_behind(self, added: EnabledLayers) -> None:
        """Envoy has gone on without us; it ends if the gateway was disabled meanwhile."""
        if not self._settings.path("gateway", "envoy.pid").exists() or added.is_enabled("gateway"):
            return
        from sampan.cluster import host

        proxy = host.gateway_proxy(self._settings)
        if proxy.pid:
            await asyncio.to_thread(processes.stop, proxy, host.STOP_SECONDS)

    def _around(self, keys: Path) -> wiring.Surroundings:
        settings = self._settings
        placing = scheduler_config.load(settings)
        signer = pki.signer(keys, self._clock.now, settings.signing_seconds)
        name = candidate.name(settings.directory, self._ids) if is_etcd(settings.store) else ""
        terms = Terms(int(settings.lease_seconds), settings.renew_seconds, settings.retry_seconds)
        return wiring.Surroundings(
            self._clock, self._ids, self._tasks, scheduling=placing, sign=signer, candidate=name, terms=terms,
            options=wiring.options(settings), directory=settings.directory, address=settings.api_address,
        )  # fmt: skip

    async def _bootstrap(self, app: App, store: Store) -> None:
        """What every cluster has; and which API servers it has, where there can be several."""
        endpoints = wiring.endpoints(self._settings)
        if not is_etcd(self._settings.store):
            await bootstrap.ensure(app, endpoints)
            return
        servers = ApiServers(store, self._clock, (endpoints.api_address, endpoints.api_port))
        await servers.note()
        endpoints = dataclasses.replace(endpoints, find=servers.find)
        await bootstrap.ensure(app, endpoints)
        told = functools.partial(bootstrap.mend, app, endpoints)
        self._tasks.spawn(servers.run(told), "api servers")
        self._closers.append(functools.partial(servers.leave, told))

    async def _stop(self) -> None:
        """The opposite of `_start`, the last first."""
        while self._closers:
            await self._closers.pop()()

    async def _store(self) -> Store:
        store = await stores.opened(self._settings, self._clock)
        await migration.check_complete(store)
        return store

    def _audit(self, configured: ServerConfig) -> Sink | None:
        """Where the lines of the audit log go, if there are to be any."""
        if configured.audit is None:
            return None
        from sampan.server.audit.log import File

        return File(server_config.audit_log(self._settings), self._clock.now)

    def _app(self, store: Store, keys: Path, dialer: HttpsDialer, way_out: Outbound) -> App:
        configured = server_config.load(self._settings)
        parts = Parts(
            store=store,
            kinds=builtin.kinds(self._settings.gates),
            clock=self._clock,
            ids=self._ids,
            tasks=self._tasks,
            token_key=(keys / key_files.TOKEN_KEY).read_bytes(),
            service_cidr=",".join(self._settings.service_cidrs),
            version=VERSION,
            dialer=dialer,
            outbound=way_out,
            agent=outward.agent(keys),
            aggregation=outward.aggregation(keys),
            front_proxy=outward.trusted_proxy(keys),
            config=configured,
            retired_keys=pki.retired_token_keys(keys),
            audit=self._audit(configured),
            gates=self._settings.gates,
            is_shared=is_etcd(self._settings.store),
        )
        return App(parts)

    async def _listen(self, listener: Listener) -> None:
        """On the address asked for, and on one of this host's that nodes and pods reach."""
        settings = self._settings
        places = [Address(settings.listen, settings.api_port)]
        if settings.rootless:
            places.append(Address("127.0.0.1", settings.api_port))
        if settings.runtime != "simulated" and settings.listen not in ("0.0.0.0", "::", settings.api_address):
            places.append(Address(settings.api_address, settings.api_port, free_bind=True))
        for place in places:
            with _listening_at(place):
                await listener.listen(place, self._bound if place is places[0] else None)

    def _announce_nodes(self, app: App) -> None:
        """Tells of each node once, when it is Ready."""
        told: set[str] = set()

        def look(name: str, node: dict[str, object]) -> None:
            if name not in told and conditions.is_true(node, "Ready"):
                told.add(name)
                self._notifier.tell(f"node {name}")

        def changed(change: Change) -> None:
            if change.item is not None:
                look(change.item.key, change.item.tree)

        cache = app.cache.of(NODE)
        for item in cache.range():
            look(objects.name(item.tree), item.tree)
        cache.listen(changed)


def main() -> None:
    """The process' entry."""
    gc.freeze()
    gc.set_threshold(GC_YOUNG_OBJECTS, 20, 100)  # objects are trees without cycles: looking for some is mostly in vain
    directory = Path(sys.argv[1])
    notifier = Notifier(int(sys.argv[2]) if len(sys.argv) > 2 else None)
    settings = load(directory)
    if settings is None:
        sys.exit(f"{directory} holds no cluster")
    log_format.configure(settings.log_format)
    descriptors.take_all()
    try:
        bound = _enter_sandbox(settings) if settings.rootless else None
        first_use.rest_soon()  # not before: a process with several threads can't enter a user namespace
        with contextlib.suppress(KeyboardInterrupt):
            _run(ControlPlane(settings, notifier, bound))
    except StoreError as error:
        sys.exit(f"the store: {error}{stores.mend(settings, error)}")
    except pki.AuthorityError as error:
        sys.exit(f"{settings.path('pki')}: {error}")
    except ListenError as error:
        print(error, file=sys.stderr)
        sys.exit(error.status)


@contextlib.contextmanager
def _listening_at(place: Address) -> Iterator[None]:
    """Raises ListenError where the block can't have the address."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            from sampan.cluster import port_holders

            by = port_holders.holder(place.host, place.port)
            text = f"port {place.port} on {place.host} is taken by {by}; choose another with --api-port"
            raise PortTakenError(text) from error
        text = f"{place.host}:{place.port} can't be listened on: {error.strerror}; choose another with --listen or --api-port"
        raise ListenError(text) from error


def _enter_sandbox(settings: Settings) -> socket.socket:
    """The port is taken on the host, and everything else is done where the nodes are."""
    from sampan.cluster import sandbox

    place = Address(settings.listen, settings.api_port)
    with _listening_at(place):
        bound = bind(place)
    sandbox.enter(settings.path("run"))
    return bound


def _run(control_plane: ControlPlane) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(control_plane.run())
    else:
        uvloop.run(control_plane.run())


def _server_tls(keys: Path) -> ssl.SSLContext:
    return server_context(
        str(keys / f"{key_files.SERVER}.crt"),
        str(keys / f"{key_files.SERVER}.key"),
        str(keys / key_files.CLIENT_AUTHORITIES),
    )


def _agent_tls(keys: Path) -> ssl.SSLContext:
    return client_context(
        str(keys / f"{key_files.AUTHORITY}.crt"),
        str(keys / f"{key_files.KUBELET_CLIENT}.crt"),
        str(keys / f"{key_files.KUBELET_CLIENT}.key"),
    )


if __name__ == "__main__":
    main()
