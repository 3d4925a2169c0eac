"""nft: carry out one nftables transaction: all of it or nothing."""

import asyncio
import contextlib
import errno
import json
from typing import Any

from sampan.node.network import netlink_tables

FAMILIES = ("inet", "ip", "ip6", "netdev")
LONGEST_SECONDS, KILL_SECONDS = 60.0, 5.0
_NETDEV = 5
_NO_TABLES = (errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL)
"""What a kernel without nftables answers."""


class NftError(Exception):
    """nft refused a transaction; the old rules stand. The text is what nft printed."""


class NftNotStarted(NftError):
    """The machine has no room for one more process or file just now: nothing is known of the rules."""


class NftNoAnswer(NftError):
    """nft took too long and was killed: either the old rules stand or the new ones. Nothing is known of them."""


async def apply(text: str) -> None:
    """Run the commands as one transaction. NftError, and no change at all, if any of them is refused.

    After NftNoAnswer all of it may have been done, or nothing.
    """
    await _run(("-f", "-"), text)


async def query(*command: str) -> list[dict[str, Any]]:
    """What `nft -j COMMAND` lists: one dict an item; nothing when the thing asked for isn't there.

    NftNotStarted and NftNoAnswer when that can't be found out just now.
    """
    try:
        output = await _run(("-j", "-a", *command), "")
    except (NftNotStarted, NftNoAnswer):
        raise
    except NftError:
        return []
    items: list[dict[str, Any]] = json.loads(output or b'{"nftables": []}')["nftables"]
    return items


def has_table(name: str) -> bool:
    """Whether there is one of that name, of whatever family but netdev; also if that can't be found out just now.

    The kernel is asked itself: a program would take long.
    """
    try:
        tables = netlink_tables.rule_tables()
    except OSError as error:
        return error.errno not in _NO_TABLES  # whoever makes a table where there can be none learns why
    return any(known == name and family != _NETDEV for family, known in tables)


async def delete_table(name: str) -> None:
    """Remove our tables of that name, of whatever family; nothing happens to one that isn't there.

    A kernel that lacks a family refuses all of it, and has no table of that family. NftError when it keeps one.
    """
    removals = {family: f"table {family} {name}\ndelete table {family} {name}\n" for family in FAMILIES}
    try:
        await apply("".join(removals.values()))
    except (NftNotStarted, NftNoAnswer):
        raise
    except NftError:
        for item in await query("list", "tables"):
            table = item.get("table", {})
            if table.get("name") == name and table["family"] in removals:
                await apply(removals[table["family"]])


async def _run(arguments: tuple[str, ...], text: str) -> bytes:
    pipe = asyncio.subprocess.PIPE
    try:
        source = pipe if text else asyncio.subprocess.DEVNULL  # nft may end before it would read
        process = await asyncio.create_subprocess_exec("nft", *arguments, stdin=source, stdout=pipe, stderr=pipe)
    except FileNotFoundError:
        raise NftError("nft is not installed (Debian: apt-get install nftables)") from None
    except OSError as error:
        raise NftNotStarted(f"fork/exec nft: {(error.strerror or str(error)).lower()}") from error
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            output, errors = await process.communicate(text.encode() or None)
    except TimeoutError:
        raise NftNoAnswer(f"nft: no answer within {LONGEST_SECONDS:.0f} seconds") from None
    finally:
        await _ended(process)
    if process.returncode != 0:
        raise NftError(errors.decode(errors="replace").strip()[:2000])
    return output


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Nobody hears of it any more, so it does nothing any more."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(TimeoutError):  # the kernel itself may hang
            async with asyncio.timeout(KILL_SECONDS):
                await process.wait()
