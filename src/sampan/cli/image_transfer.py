"""Images between a cluster and registries: pull and push, with progress and the user's own logins."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from sampan.cli.main import CommandError
from sampan.cluster import agents
from sampan.cluster.settings import Settings

if TYPE_CHECKING:
    from sampan.node.images.store import ImageStore
    from sampan.node.registry.config import Login


def arguments(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The verbs pull and push."""
    pull = verbs.add_parser("pull", help="get an image from its registry")
    pull.add_argument("image")
    push = verbs.add_parser("push", help="send an image to a registry")
    push.add_argument("image")
    push.add_argument("target", nargs="?", help="the name it is to have there (default: its own)")
    for verb in (pull, push):
        verb.add_argument(
            "--auth-file", type=Path, help="logins, as `docker login` writes them (~/.docker/config.json)"
        )


def auth_file() -> Path:
    """Where this user's logins are."""
    folder = os.environ.get("DOCKER_CONFIG")
    return Path(folder, "config.json") if folder else Path.home() / ".docker" / "config.json"


def pull(cluster: Settings, store: "ImageStore", arguments: argparse.Namespace) -> int:
    """Gets the image. Raises ImageError."""
    from sampan.node.images import reference

    size = fetch(cluster, store, arguments)
    print(f"pulled {reference.parse(arguments.image)} ({size / 1e6:.1f} MB)")
    return 0


def fetch(cluster: Settings, store: "ImageStore", arguments: argparse.Namespace) -> int:
    """Gets the image; returns its size. Raises ImageError."""
    from sampan.kit.clock import SystemClock
    from sampan.node.registry.pull import Pulls
    from sampan.node.registry_puller import registries

    files = partial(registries, agents.registry_files(cluster))
    shown = _Progress(f"pulling {arguments.image}")
    work = Pulls(store, files, SystemClock()).pull(arguments.image, logins(arguments, arguments.image), shown.tell)
    image = asyncio.run(work)
    shown.end()
    return image.size


def push(cluster: Settings, store: "ImageStore", arguments: argparse.Namespace) -> int:
    """Sends the image. Raises ImageError."""
    from sampan.node.registry.push import Pushes
    from sampan.node.registry_puller import registries

    target = arguments.target or arguments.image
    shown = _Progress(f"pushing {target}")
    pushes = Pushes(store, partial(registries, agents.registry_files(cluster)))
    digest = asyncio.run(pushes.push(arguments.image, target, logins(arguments, target), shown.tell))
    shown.end()
    print(f"pushed {target}\n{digest}")
    return 0


def logins(arguments: argparse.Namespace, ref: str) -> "Sequence[Login]":
    """The user's own logins for the image's registry."""
    from sampan.node.images import reference
    from sampan.node.registry import keyring

    path = arguments.auth_file or auth_file()
    try:
        repository = reference.parse(ref).repository
        tree = orjson.loads(path.read_bytes())
        domain, _, name = repository.partition("/")
        return keyring.matching([keyring.of_document(tree)], domain, name)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise CommandError(f"{path}: {error}") from error


class _Progress:
    """One line that counts up, on a terminal; nothing elsewhere."""

    def __init__(self, what: str) -> None:
        self._what, self._seen = what, dict[str, tuple[int, int]]()
        self._shows = sys.stderr.isatty()

    def tell(self, digest: str, have: int, size: int) -> None:
        self._seen[digest] = (have, size)
        if self._shows:
            here, all_of_it = (sum(pair[n] for pair in self._seen.values()) / 1e6 for n in (0, 1))
            done = sum(have == size for have, size in self._seen.values())
            text = f"{self._what}: {done} of {len(self._seen)} blobs, {here:.1f} of {all_of_it:.1f} MB"
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._shows and self._seen:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
