"""What several commands share that ask a cluster's API something."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sampan.cli.main import CommandError

if TYPE_CHECKING:
    from sampan.client.api import Client
    from sampan.client.kubeconfig import Access

T = TypeVar("T")


def access(kubeconfig: Path, context: str = "") -> "Access":
    """Raises CommandError."""
    from yaml import YAMLError

    from sampan.client.kubeconfig import load
    from sampan.cluster import reaching

    try:
        return load(kubeconfig, context) if context else reaching.access(kubeconfig)
    except (OSError, YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise CommandError(f"{kubeconfig} can't be used: {error}") from error


def ask(kubeconfig: Path, question: "Callable[[Client], Coroutine[Any, Any, T]]", context: str = "") -> T:
    """The answer of the API of a cluster (that of the current context, if none is named). CommandError."""
    from sampan.client.api import Client
    from sampan.client.http import HttpTransport
    from sampan.client.transport import TransportError
    from sampan.meta.status import ApiError

    found = access(kubeconfig, context)

    async def answer() -> T:
        try:
            transport = HttpTransport(found)
        except (OSError, ValueError) as error:
            raise CommandError(f"{kubeconfig} can't be used: {error}") from error
        try:
            return await question(Client(transport, "sampan"))
        finally:
            await transport.close()

    try:
        return asyncio.run(answer())
    except (ApiError, TransportError) as error:
        raise CommandError(f"the API refuses, or does not answer: {error}") from error
