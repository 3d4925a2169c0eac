"""A member that gives a question up a moment before we do says so without a code of its own: another one is asked."""

from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from sampan.store import etcd_wire
from sampan.store.etcd_address import Address
from sampan.store.etcd_client import Client, Unanswered
from sampan.store.protocol import StoreError


@pytest.fixture
async def client() -> Any:
    made = Client(Address.parse("etcd://127.0.0.1:1,127.0.0.1:2"))
    yield made
    await made.close()


def answers(client: Client, words: str) -> list[int]:
    """The first member refuses with these words, the second one answers; returns who was asked."""
    asked: list[int] = []

    def call(number: int) -> Any:
        async def answer(*_: Any, **__: Any) -> Any:
            asked.append(number)
            if number:
                return "answer"
            raise AioRpcError(grpc.StatusCode.UNKNOWN, Metadata(), Metadata(), words)

        return answer

    for number, member in enumerate(client._members):
        member.calls["range"] = member.calls["txn"] = call(number)
    return asked


@pytest.mark.parametrize("words", ["context deadline exceeded", "context canceled"])
async def test_another_one_is_asked(client: Client, words: str) -> None:
    """What may be asked twice."""
    asked = answers(client, words)
    assert await client.call("range", etcd_wire.make("RangeRequest")(key=b"a")) == "answer"
    assert asked == [0, 1]


async def test_a_write_is_not_sent_again(client: Client) -> None:
    """Nobody knows whether it was done; the next question goes to another member."""
    asked = answers(client, "context deadline exceeded")
    with pytest.raises(Unanswered):
        await client.call_once("txn", etcd_wire.make("TxnRequest")())
    assert await client.call("range", etcd_wire.make("RangeRequest")(key=b"a")) == "answer"
    assert asked == [0, 1]


async def test_other_words_are_an_answer(client: Client) -> None:
    """Which is told."""
    asked = answers(client, "something else")
    with pytest.raises(StoreError, match="something else"):
        await client.call("range", etcd_wire.make("RangeRequest")(key=b"a"))
    assert asked == [0]
