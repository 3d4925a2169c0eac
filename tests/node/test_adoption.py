"""What is on a node when an agent starts, and belongs to nobody: it goes, however often that fails."""

from sampan.kinds.core.pod import POD
from tests.node.test_agent import make_pod


def test_what_nobody_wants_goes_at_last(node, monkeypatch):
    """A step that fails is tried again; the pod's containers, address and files are gone in the end."""
    make_pod(node)
    node.loop.advance(0.5)
    uid = next(iter(node.agent.records))
    folder = node.agent.hands.files.pod(uid)
    assert folder.exists()
    node.end()
    node.client.drop(POD, ("default", "web"))
    failures = ["first", "second"]
    stop, remove = node.runtime.stop, node.network.remove

    async def failing_stop(*arguments):
        if failures:
            raise OSError(failures.pop())
        await stop(*arguments)

    async def failing_remove(pod_uid):
        if not failures and not refused:
            refused.append(pod_uid)
            raise OSError("the network's turn")
        await remove(pod_uid)

    refused: list[str] = []
    monkeypatch.setattr(node.runtime, "stop", failing_stop)
    monkeypatch.setattr(node.network, "remove", failing_remove)
    node.begin()
    node.loop.advance(1)
    assert node.runtime.states and folder.exists()
    node.loop.advance(20)
    assert (node.runtime.states, node.agent.records, refused) == ({}, {}, [uid])
    assert not folder.exists()
