"""Gives each ServiceAccount a token in a Secret, as clusters did before 1.24: upstream's suite of 1.20 waits for it.

python -m tests.upstream.tokens KUBECONFIG     # until it is ended
"""

import asyncio
import contextlib
import sys
from pathlib import Path

from sampan.client.api import Client
from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import load
from sampan.kinds.core.secret import SECRET
from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.meta import objects
from sampan.meta.status import ApiError

PERIOD_SECONDS = 0.5


async def main(kubeconfig: Path) -> None:
    """Looks at all ServiceAccounts again and again; what is gone meanwhile is left alone."""
    client = Client(HttpTransport(load(kubeconfig)), "upstream-tokens")
    while True:
        for account in (await client.list(SERVICEACCOUNT)).items:
            if not account.get("secrets"):
                with contextlib.suppress(ApiError):
                    await give(client, objects.name(account), objects.namespace(account))
        await asyncio.sleep(PERIOD_SECONDS)


async def give(client: Client, name: str, namespace: str) -> None:
    """A Secret that gets a token, and its name in the ServiceAccount."""
    metadata = {
        "generateName": f"{name}-token-",
        "namespace": namespace,
        "annotations": {"kubernetes.io/service-account.name": name},
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/service-account-token"}
    made = await client.create(SECRET, secret)
    await client.patch(SERVICEACCOUNT, (namespace, name), {"secrets": [{"name": objects.name(made)}]})


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
