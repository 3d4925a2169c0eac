"""The metrics server: reads the gateway's counters while anybody asks for them, and answers for the metrics APIs.

Only the API server may ask: it shows the front proxy's certificate, and has checked before who may read what.
"""

import asyncio
import logging
import ssl
import tempfile
from collections import deque
from pathlib import Path

import orjson

from sampan.client.transport import TransportError
from sampan.control.plan import AskHttp, HttpAnswer
from sampan.kinds.apiregistration.api_service import APISERVICE
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.kind import Kind, Object
from sampan.meta import objects
from sampan.meta.status import ApiError
from sampan.platform import own_address
from sampan.platform.elastic import metrics_api, metrics_registration, traffic
from sampan.platform.elastic.traffic import Reading
from sampan.platform.layer import Around
from sampan.web import certificates
from sampan.web.certificates import AUTHORITY_YEARS, Subject
from sampan.web.listener import Address, Listener
from sampan.web.message import Request, Response

LOG = logging.getLogger(__name__)

READ_SECONDS = 5.0
CARE_SECONDS = 120.0
FRESH_SECONDS = 10.0
MAX_READINGS = 64
AGAIN_SECONDS = 5.0
VIRTUAL_ADDRESS = "192.0.2.2"
AUTHENTICATION = "extension-apiserver-authentication"
GATEWAYCLASS = Kind(
    group="gateway.networking.k8s.io", versions=("v1",), name="GatewayClass", plural="gatewayclasses", scope="Cluster"
)
CLASS = "sampan"
PROXY_ADDRESS, METRICS_PORT = "gateway.sampan.dev/proxy-address", "gateway.sampan.dev/metrics-port"


async def serve(around: Around) -> None:
    """Until cancelled; then the API server asks us no longer."""
    meter = Meter(around)
    around.tasks.spawn(meter.run(), "readings")
    if around.listen is not None:
        around.listen(metrics_registration.HOST, meter.handle)
        await _register(around, (VIRTUAL_ADDRESS, 443), b"")
        await around.tasks.wait()
        return
    names, front = await _front_proxy(around)
    address = await own_address.find(around)
    now = around.clock.now()
    authority = certificates.new_authority(f"{metrics_registration.NAME}-ca", now)
    subject = Subject(metrics_registration.NAME, (), (metrics_registration.HOST,))
    listener = Listener(
        _Door(names, meter), _failed, _tls(certificates.issue(authority, subject, now, AUTHORITY_YEARS), front)
    )
    try:
        port = await listener.listen(Address(address, 0, free_bind=True))
        await _register(around, (address, port), authority.certificate)
        LOG.info("metrics are served at %s:%d", address, port)
        await around.tasks.wait()
    finally:
        await _unregister(around, authority.certificate)
        await listener.close()


class Meter:
    """Readings of the gateway's counters, as long as somebody has asked for them lately."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._readings: deque[Reading] = deque(maxlen=MAX_READINGS)
        self._asked = asyncio.Event()
        self._asked_at = 0.0
        self._latest: Reading | None = None
        self._reading = asyncio.Lock()

    async def run(self) -> None:
        """Reads while anybody cares, and forgets when nobody does."""
        clock = self._around.clock
        while True:
            if clock.now() - self._asked_at > CARE_SECONDS:
                self._readings.clear()
                self._asked.clear()
                await self._asked.wait()
            reading = await self._read()
            if reading is not None:
                self._readings.append(reading)
            await clock.sleep(READ_SECONDS)

    async def handle(self, request: Request) -> Response:
        """A request of the API server."""
        if "/namespaces/" in request.path:
            self._asked_at = self._around.clock.now()
            self._asked.set()
            await self._look_again()
        found = metrics_api.answer(request.path, dict(request.query), self._recent())
        return Response(found.code, orjson.dumps(found.tree), {}, "application/json")

    async def _look_again(self) -> None:
        """Who asks is told of all that came before: a reading older than the question may not know of a new request."""
        asked_at = self._around.clock.now()
        async with self._reading:
            if self._readings and (self._latest is None or self._latest.at < asked_at):
                self._latest = await self._read()

    def _recent(self) -> list[Reading]:
        """Nothing where the gateway has said nothing for long."""
        found = list(self._readings)
        if found and self._latest is not None and self._latest.at > found[-1].at:
            found.append(self._latest)
        is_fresh = found and self._around.clock.now() - found[-1].at <= FRESH_SECONDS
        return found if is_fresh else []

    async def _read(self) -> Reading | None:
        """What the gateway says now, with the time before it was asked; None where it says nothing."""
        around = self._around
        at = around.clock.now()
        try:
            told = objects.annotations(await around.client.get(GATEWAYCLASS, CLASS))
        except (ApiError, TransportError):
            return None
        address, port = told.get(PROXY_ADDRESS), told.get(METRICS_PORT, "80")
        if not address or around.fetch is None:
            return None
        host = f"[{address}]" if ":" in address else address
        asked = AskHttp("GET", f"http://{host}:{port}/metrics", timeout_seconds=READ_SECONDS)
        answer = await around.fetch(asked)
        if isinstance(answer, HttpAnswer) and answer.code == 200:
            return traffic.read(answer.text, at)
        LOG.warning("the gateway's metrics can't be read: %s", answer)
        return None


async def _front_proxy(around: Around) -> tuple[tuple[str, ...], str]:
    """By which names, and by which authority (PEM), the API server shows itself."""
    while True:
        try:
            data = (await around.client.get(CONFIGMAP, AUTHENTICATION, "kube-system")).get("data") or {}
        except ApiError as error:
            if error.code != 404:
                raise
            data = {}
        if data.get("requestheader-client-ca-file"):
            names = orjson.loads(data.get("requestheader-allowed-names") or "[]")
            return tuple(names), data["requestheader-client-ca-file"]
        await around.clock.sleep(AGAIN_SECONDS)


class _Door:
    """Refuses whoever has a certificate of the front proxy's authority but another name."""

    def __init__(self, names: tuple[str, ...], meter: Meter) -> None:
        self._names = names
        self._meter = meter

    async def __call__(self, request: Request) -> Response:
        if not request.peer.common_name or (self._names and request.peer.common_name not in self._names):
            return Response(401, b"Unauthorized\n", {}, "text/plain; charset=utf-8")
        return await self._meter.handle(request)


async def _register(around: Around, place: tuple[str, int], authority: bytes) -> None:
    """Leads the API server here, but not where somebody else serves a group already."""
    service, slice_ = metrics_registration.place(*place)
    await _apply(around, SERVICE, service)
    await _apply(around, ENDPOINTSLICE, slice_)
    for wanted in metrics_registration.api_services(authority):
        found = await _api_service(around, objects.name(wanted))
        if found is None or metrics_registration.is_ours(found):
            await _apply(around, APISERVICE, wanted)
        else:
            LOG.warning("%s is served by somebody else already", objects.name(wanted))


async def _apply(around: Around, kind: Kind, obj: Object) -> None:
    await around.client.apply(kind, obj, manager=metrics_registration.MANAGER, force=True)


async def _api_service(around: Around, name: str) -> Object | None:
    try:
        return await around.client.get(APISERVICE, name)
    except ApiError as error:
        if error.code == 404:
            return None
        raise


async def _unregister(around: Around, authority: bytes) -> None:
    """Of the APIServices those that still lead here: one that nobody serves would be in everybody's way."""
    for wanted in metrics_registration.api_services(authority):
        try:
            found = await _api_service(around, objects.name(wanted))
            if found is not None and found["spec"].get("caBundle") == wanted["spec"].get("caBundle"):
                revision = objects.resource_version(found)
                await around.client.delete(APISERVICE, ("", objects.name(wanted)), resource_version=revision)
        except (ApiError, TransportError) as error:
            LOG.warning("%s stays behind: %s", objects.name(wanted), error)


def _failed(request: Request, error: BaseException) -> Response:
    LOG.error("%s failed", request.path, exc_info=error)
    return Response(500)


def _tls(pair: certificates.Pair, front: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=front)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    with tempfile.TemporaryDirectory() as directory:  # ssl only reads key pairs from files; the folder is 0700
        path = Path(directory) / "pair.pem"
        certificates.write_private(path, pair.certificate + pair.key)
        context.load_cert_chain(path)
    return context
