"""Renewal: the running agent's certificates are replaced before they end, and whom it trusts; no pod and no open stream notices."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sampan.client.http import REQUEST_SECONDS, HttpTransport
from sampan.kit.dice import Dice
from sampan.kit.tasks import Tasks
from sampan.node import certificates
from sampan.node.agent import Agent
from sampan.node.authority import Authority
from sampan.node.certificates import Files, Rotation
from sampan.node.server import NodeServer
from sampan.web.certificates import Pair


@dataclass(frozen=True, slots=True)
class Pairs:
    """Where the agent's certificates are, by which names its port is served, and where those are whom it trusts."""

    client: Files
    serving: Files
    hosts: tuple[str, ...]
    authority: Path


def start(pairs: Pairs, agent: Agent, server: NodeServer, tasks: Tasks) -> None:
    """Keeps all fresh. One pair for both purposes is not the API's to give, and stays as it is."""
    parts, node = agent.parts, agent.settings.node
    transport = parts.client.transport
    if pairs.client.key == pairs.serving.key or not isinstance(transport, HttpTransport):
        return
    dice = Dice(int(parts.ids.uid().replace("-", ""), 16))

    async def use_as_client(pair: Pair) -> None:
        access = replace(transport.access, certificate=pair.certificate.decode(), key=pair.key.decode())
        transport.change(access)
        tasks.spawn(drop_former(), "end of former connections", critical=False)

    async def trust(authority: bytes) -> None:
        if authority.decode() != transport.access.ca:
            server.trust(authority.decode())
            transport.change(replace(transport.access, ca=authority.decode()))
            tasks.spawn(drop_former(), "end of former connections", critical=False)

    async def drop_former() -> None:
        """Aside: meanwhile the clock may be set again, and with it the new pair be of no use."""
        await parts.clock.sleep(REQUEST_SECONDS)  # what was under way has its answer by then
        await transport.drop_former()

    async def use_as_server(pair: Pair) -> None:
        server.change(str(pairs.serving.certificate), str(pairs.serving.key))

    def keep(asked: certificates.Asked, files: Files, use: Callable[[Pair], Awaitable[None]]) -> None:
        name = files.certificate.name
        tasks.spawn(Rotation(parts.client, parts.clock, asked, files).run(dice.of(name), use), f"renewal of {name}")

    authority = Authority(parts.client, parts.clock, pairs.authority)
    tasks.spawn(authority.run(dice.of("authority"), trust), "trust in the authority")
    keep(certificates.client(node), pairs.client, use_as_client)
    if not agent.settings.is_simulated:
        keep(certificates.serving(node, pairs.hosts), pairs.serving, use_as_server)
