"""nft: carry out one nftables transaction: all of it or nothing."""

import asyncio
import json
from typing import Any


class NftError(Exception):
    """nft refused a transaction; the old rules stand. The text is what nft printed."""


async def apply(text: str) -> None:
    """Run the commands as one transaction. NftError, and no change at all, if any of them is refused."""
    await _run(("-f", "-"), text)


async def query(*command: str) -> list[dict[str, Any]]:
    """What `nft -j COMMAND` lists: one dict an item; nothing when the thing asked for isn't there."""
    try:
        output = await _run(("-j", "-a", *command), "")
    except NftError:
        return []
    items: list[dict[str, Any]] = json.loads(output or b'{"nftables": []}')["nftables"]
    return items


async def delete_table(name: str) -> None:
    """Remove a table of ours; nothing happens when it isn't there."""
    await apply(f"table ip {name}\ndelete table ip {name}\n")


async def _run(arguments: tuple[str, ...], text: str) -> bytes:
    pipe = asyncio.subprocess.PIPE
    try:
        source = pipe if text else asyncio.subprocess.DEVNULL  # nft may end before it would read
        process = await asyncio.create_subprocess_exec("nft", *arguments, stdin=source, stdout=pipe, stderr=pipe)
    except FileNotFoundError:
        raise NftError("nft is not installed (Debian: apt-get install nftables)") from None
    output, errors = await process.communicate(text.encode() or None)
    if process.returncode != 0:
        raise NftError(errors.decode(errors="replace").strip()[:2000])
    return output
