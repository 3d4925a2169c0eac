"""NetworkPolicies: keeps the kernel's rules for pods' traffic equal to what policies, pods and namespaces say.

Nothing is watched but policies, and nothing is in the kernel, until there is a policy. From then on a pod's containers
start only when the rules for its address are in place: `cover` is called between the one and the other. While the kernel
refuses a change the old rules stand, also those of an agent before this one.

https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.pod import POD
from sampan.kinds.networking.network_policy import NETWORKPOLICY
from sampan.meta import objects
from sampan.node import admission, static_pods
from sampan.node.network import nft
from sampan.node.network.settings import NetworkSettings

if TYPE_CHECKING:
    from sampan.node.network.policies.model import Model

Object = dict[str, Any]
Key = tuple[str, str]
Attachments = Callable[[], Awaitable[Mapping[str, Any]]]

PATIENCE_SECONDS = 10.0
AT_ONCE = 500
MOST_GONE = 1000
"""So many pods are known to be gone: those that may still be on their way to `cover`."""


class NotInForce(Exception):
    """The policies for a pod are not in place, so that it may not begin; it is tried again."""


class NetworkPolicies:
    """A follower (node/networking.py) of one node. `attachments` tells which pods of the node have which addresses."""

    kinds = (NETWORKPOLICY, NAMESPACE, POD)
    starts_with = NETWORKPOLICY

    def __init__(self, settings: NetworkSettings, attachments: Attachments) -> None:
        self._settings, self._attachments = settings, attachments
        self._model: Model | None = None
        self._news: dict[tuple[str, Key], Object | None] = {}
        self._places: dict[str, tuple[str, ...]] = {}
        self._gone: dict[str, None] = {}
        self._is_known = asyncio.Event()
        self._is_in_kernel = False
        self._lock = asyncio.Lock()

    def changed(self, plural: str, old: Object | None, new: Object | None) -> None:
        """Something is to be looked at by the next `apply`."""
        self._news[plural, objects.key(new or old or {})] = new
        if plural == POD.plural and new is None and old is not None:
            self._places.pop(static_pods.uid_of(old), None)
            self._note_gone(old)
        if self._model is None:
            self._is_known.clear()

    async def apply(self, objects: Mapping[str, Sequence[Object]]) -> None:
        """Takes in what has changed, and brings the rules up to date. NftError when the kernel refuses."""
        async with self._lock:
            if objects[NETWORKPOLICY.plural]:
                await self._begin()
            if self._model is None:
                self._news.clear()
                await self._leave_nothing()
            else:
                await self._take_in(self._model)
                await self._bring(self._model)
        self._is_known.set()

    async def cover(self, pod: Object, addresses: Sequence[str]) -> None:
        """Returns when the policies for a pod that is about to begin are in force. NotInForce or NftError if they can't be.

        A pod of the node's own files doesn't wait for an API that is not there yet.
        """
        if not self._is_known.is_set():
            if admission.is_static(pod):
                return
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._is_known.wait()
            except TimeoutError:
                raise NotInForce("network policies are not known yet") from None
        if self._model is None:
            return
        async with self._lock:
            if objects.uid(pod) in self._gone:
                raise NotInForce("the pod is gone")
            self._places[static_pods.uid_of(pod)] = tuple(addresses)
            self._put_pod(self._model, objects.key(pod), pod)
            await self._bring(self._model)

    async def restore(self) -> None:
        """The rules are there again, if somebody else has removed them. NftError."""
        async with self._lock:
            if self._model is None or not self._is_in_kernel:
                return
            if not nft.has_table(self._settings.policies_table):
                self._is_in_kernel = False
                await self._bring(self._model)

    def _note_gone(self, pod: Object) -> None:
        """Nothing will be heard of it again, so that it must not be taken in again. A mirror pod's place is another's."""
        if (pod.get("spec") or {}).get("nodeName") == self._settings.node:
            self._gone[objects.uid(pod)] = None
            if len(self._gone) > MOST_GONE:
                del self._gone[next(iter(self._gone))]

    async def _begin(self) -> None:
        """From the first policy on; it may come when there are pods already."""
        if self._model is not None:
            return
        from sampan.node.network.policies.model import Model

        places = await self._attachments()
        self._places = {uid: tuple(place.ips) for uid, place in places.items()}
        families = (4, 6) if self._settings.pod_cidr6 else (4,)
        self._model = Model(families, list(self._settings.own_addresses))

    async def _take_in(self, model: "Model") -> None:
        done = 0
        while self._news:
            (plural, key), obj = self._news.popitem()
            if plural == NETWORKPOLICY.plural:
                model.put_policy(key, obj)
            elif plural == NAMESPACE.plural:
                model.put_namespace(key[1], objects.labels(obj) if obj is not None else None)
            else:
                self._put_pod(model, key, obj)
            done += 1
            if not done % AT_ONCE:
                await asyncio.sleep(0)

    def _put_pod(self, model: "Model", key: Key, pod: Object | None) -> None:
        from sampan.node.network.policies import pods

        known = self._places.get(static_pods.uid_of(pod)) if pod is not None else None
        model.put_pod(key, pods.seen(pod, self._settings.node, known) if pod is not None else None)

    async def _bring(self, model: "Model") -> None:
        """The kernel has what the model says. After a refusal nobody knows: then the whole table is replaced."""
        rules, table = model.ruleset, self._settings.policies_table
        if rules.is_empty:
            await self._leave_nothing()
        elif not self._is_in_kernel or rules.is_changed:
            text = rules.change(table) if self._is_in_kernel else rules.whole(table)
            self._is_in_kernel = False
            self._settings.policies_mark.touch()
            if text:
                await nft.apply(text)
            self._is_in_kernel = True
        rules.settle()

    async def _leave_nothing(self) -> None:
        if self._settings.policies_mark.exists():
            self._is_in_kernel = False
            await nft.delete_table(self._settings.policies_table)
            self._settings.policies_mark.unlink(missing_ok=True)
