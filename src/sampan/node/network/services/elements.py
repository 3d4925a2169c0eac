"""Elements: what the kernel's maps and sets have for one frontend (pure)."""

from collections.abc import Iterator
from typing import NamedTuple

from sampan.node.network.services import chains
from sampan.node.network.services.frontends import Frontend, Target
from sampan.node.network.settings import NetworkSettings


class Element(NamedTuple):
    """A key of a map with what it leads to, or of a set, with nothing."""

    holder: str
    key: str
    value: str = ""


def elements(frontend: Frontend, target: Target, settings: NetworkSettings) -> Iterator[Element]:
    """All of them, but for the addresses that frontends share."""
    kind = f"{'' if frontend.address else '-node'}{frontend.family}"
    key = f"{frontend.protocol} . {frontend.port}"
    key = f"{frontend.address} . {key}" if frontend.address else key
    if target.refusal:
        yield Element(f"refused{kind}", key, target.refusal)
    shape = chains.shape(frontend, target)
    if shape is None:
        return
    yield Element(f"services{kind}", key, f"goto {chains.chains(shape, settings)[-1][0]}")
    for network in target.allowed or ():
        yield Element(f"allowed{kind}", f"{key} . {network}")
    pools = [(target.cluster, chains.MASQUERADE if target.is_masqueraded else 0), (target.local or (), chains.LOCAL)]
    for pool, bits in pools:
        taken: set[int] = set()
        for index, endpoint in enumerate(pool[: chains.MOST]):
            mark = chains.place(index, bits)
            if shape.sticky_seconds:
                slot = chains.slot(endpoint[:2], taken, bits)
                yield Element(f"picks{kind}", f"{key} . {mark:#x}", f"{slot:#x}")
                mark = slot
            yield Element(f"endpoints{kind}", f"{key} . {mark:#x}", f"{endpoint.address} . {endpoint.port}")


def hairpins(_: Frontend, target: Target) -> Iterator[Element]:
    """Pods of this node that would answer themselves past us, were they not to see another client."""
    for address in {endpoint.address for endpoint in (*target.cluster, *(target.local or ())) if endpoint.is_ours}:
        yield Element(f"hairpins{6 if ':' in address else 4}", f"{address} . {address}")
