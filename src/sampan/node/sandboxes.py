"""What a pod is to have around its containers: the runtime that its RuntimeClass names, users of its own.

https://kubernetes.io/docs/concepts/containers/runtime-class/ and
https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/
"""

from sampan.kinds.node.runtime_class import RUNTIMECLASS
from sampan.node import podspec
from sampan.node.containers import HANDLER_LABEL
from sampan.node.fetch import Fetcher
from sampan.node.observed import Failure
from sampan.node.record import PodRecord
from sampan.node.runtime.protocol import Runtime, RuntimeFailure, Sandbox

REASON = "FailedCreatePodSandBox"


async def prepare(record: PodRecord, fetcher: Fetcher, runtime: Runtime) -> str:
    """Before the pod's network: the namespace that it must have, if it must have one. Raises RuntimeFailure."""
    own_users = podspec.has_own_users(record.pod)
    if not (own_users or record.pod["spec"].get("runtimeClassName")):
        return ""
    return await runtime.prepare(Sandbox(record.uid, await handler(record, fetcher), own_users))


async def handler(record: PodRecord, fetcher: Fetcher) -> str:
    """The name that its RuntimeClass gives; empty for the usual runtime. Raises RuntimeFailure."""
    name = record.pod["spec"].get("runtimeClassName")
    if not name:
        return ""
    for state in record.states.values():
        known = dict(state.labels).get(HANDLER_LABEL)
        if known:
            return known
    found = await fetcher.get(RUNTIMECLASS, "", name, 0.0)
    if found is None:
        raise RuntimeFailure(REASON, f'{RUNTIMECLASS.resource} "{name}" not found')
    return str(found.get("handler") or "")


def text(error: Exception) -> str:
    """As the pod's event says it."""
    return f"Failed to create pod sandbox: {error.message if isinstance(error, RuntimeFailure) else error}"


def waiting(retry_at: float) -> Failure:
    """As a container's state says it: nothing but that it is not there yet."""
    return Failure("ContainerCreating", "", retry_at)


def is_of(error: RuntimeFailure) -> bool:
    """Whether it is the pod, and not the container, that can't be here."""
    return error.reason == REASON
