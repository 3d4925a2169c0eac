"""Drivers that take long, or for ever, over saying who they are."""

import asyncio

import pytest

from sampan.node.plugins import registry
from tests.node.plugins.drivers import DraDriver, Registrant


class Slow(Registrant):
    """It answers a question once it is let; `asked` counts them."""

    def __init__(self, other: Registrant, question: str) -> None:
        super().__init__(other.socket, other.info)
        self._question, self.asked, self.answers = question, 0, asyncio.Event()

    async def _hold(self, question: str) -> None:
        if question == self._question:
            self.asked += 1
            await self.answers.wait()

    async def _who(self, request):
        await self._hold("GetInfo")
        return await super()._who(request)

    async def _tell(self, request):
        await self._hold("NotifyRegistrationStatus")
        return await super()._tell(request)


async def slow(node, question, monkeypatch):
    """A driver whose registration hangs at this question."""
    monkeypatch.setattr(registry, "CALL_SECONDS", 0.2)
    driver = DraDriver(node.root, "slow.test")
    driver.registrant = Slow(driver.registrant, question)
    await driver.start()
    await node.until(lambda: driver.registrant.asked)
    return driver


async def is_told(driver):
    async with asyncio.timeout(60):
        await driver.registrant.was_told.wait()
    assert driver.registrant.told[-1] == {"plugin_registered": True, "error": ""}


async def stop(*drivers):
    for driver in drivers:
        await driver.stop()


async def test_one_that_does_not_say_who_it_is(node, monkeypatch):
    """Others register meanwhile; it is asked again and again, and comes when it answers."""
    hangs = await slow(node, "GetInfo", monkeypatch)
    other = DraDriver(node.root, "other.test")
    await other.start()
    await is_told(other)
    await node.until(lambda: hangs.registrant.asked > 2)
    assert node.plugins.drivers.has("other.test") and not node.plugins.drivers.has("slow.test")
    hangs.registrant.answers.set()
    await is_told(hangs)
    assert node.plugins.drivers.has("slow.test")
    await stop(hangs, other)


async def test_one_that_does_not_take_note(node, monkeypatch):
    """That it is registered holds all the same, and it is not told for ever."""
    hangs = await slow(node, "NotifyRegistrationStatus", monkeypatch)
    await node.until(lambda: node.plugins.drivers.has("slow.test"))
    assert hangs.registrant.asked == 1
    hangs.registrant.answers.set()
    await stop(hangs)


@pytest.mark.parametrize("question", ["GetInfo", "NotifyRegistrationStatus"])
async def test_one_that_goes_and_comes_back(node, monkeypatch, question):
    """Amid a question without an answer: the next life is another driver, which is asked anew."""
    hangs = await slow(node, question, monkeypatch)
    async with asyncio.timeout(60):
        await stop(hangs)
    await node.until(lambda: not hangs.registrant.socket.exists())
    back = DraDriver(node.root, "slow.test")
    await back.start()
    await is_told(back)
    assert node.plugins.drivers.has("slow.test")
    await stop(back)
