"""ServiceProxy: keeps the kernel's service rules equal to what Services and EndpointSlices say."""

from collections.abc import Iterable

from sampan.node.network import nft, rules
from sampan.node.network.rules import Object, Rules
from sampan.node.network.settings import NetworkSettings


class ServiceProxy:
    """The shell around rules.py. One `apply` at a time."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings
        self._applied: Rules | None = None

    async def apply(self, services: Iterable[Object], slices: Iterable[Object]) -> bool:
        """Bring the rules up to date; whether anything had to change.

        NftError when the kernel refuses: the old rules stand, and the caller tries again later, which
        then replaces the whole table. So does the first call: who knows what an earlier agent left.
        """
        wanted = rules.rules(services, slices)
        if wanted == self._applied:
            return False
        known, self._applied = self._applied, None
        text = rules.whole(self._settings, wanted) if known is None else rules.change(self._settings, known, wanted)
        await nft.apply(text)
        self._applied = wanted
        return True
