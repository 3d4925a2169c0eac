"""Container images of a cluster: build, pull, push, load an archive, import a root file system, list, save, remove, prune."""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.cli import common, image_build, image_runtime, image_transfer
from sampan.cli.main import CommandError
from sampan.cluster import agents, container_runtime, host
from sampan.cluster.settings import Settings

if TYPE_CHECKING:
    from sampan.node.images.model import Image
    from sampan.node.images.store import ImageStore
    from sampan.node.runtime.cri.images import CriImages


def arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand each."""
    common.cluster_arguments(parser)
    verbs = parser.add_subparsers(dest="verb", required=True)
    load = verbs.add_parser("load", help="load a docker or OCI archive")
    load.add_argument("archive", type=Path)
    imported = verbs.add_parser("import", help="make an image of a directory or tar")
    imported.add_argument("rootfs", type=Path)
    imported.add_argument("--tag", required=True, help="the image's name, such as app:v1")
    imported.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    imported.add_argument(
        "--cmd", nargs=argparse.REMAINDER, default=[], action=_RestOfTheLine,
        help="what it runs: all the rest of the line, so every other option stands before it",
    )  # fmt: skip
    verbs.add_parser("list", help="list the images").add_argument("-q", "--quiet", action="store_true")
    save = verbs.add_parser("save", help="write an image as an archive")
    save.add_argument("image")
    save.add_argument("-o", "--output", type=Path, required=True)
    verbs.add_parser("rm", help="remove an image").add_argument("image")
    verbs.add_parser("prune", help="remove the images that no container uses")
    image_transfer.arguments(verbs)
    image_build.arguments(verbs)
    for after in verbs.choices.values():
        common.cluster_arguments(after, default=argparse.SUPPRESS)  # they may also stand after the verb


class _RestOfTheLine(argparse.Action):
    """Keeps what the image runs, and says so where that has taken an option which had to stand before."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if namespace.tag is None and any(_is_one(word, "--tag") for word in values):
            parser.error(f"{option} takes the rest of the line: --tag stands before it")
        setattr(namespace, self.dest, values)


def _is_one(word: str, *options: str) -> bool:
    return word.partition("=")[0] in options


def _cluster(arguments: argparse.Namespace) -> Settings:
    try:
        return common.existing(arguments)
    except CommandError as error:
        for word in getattr(arguments, "cmd", ()):
            if _is_one(word, "--name", "--data-dir"):
                raise CommandError(f"{error} (what stands after --cmd is the image's: move {word} before it)") from None
        raise


def run(arguments: argparse.Namespace) -> int:
    """Raises CommandError."""
    cluster = _cluster(arguments)
    if cluster.runtime == "simulated":
        raise CommandError(f"cluster {cluster.name} has simulated nodes: every image is there, and none is needed")
    if os.geteuid() != 0:
        return _as_root(cluster, arguments)
    from sampan.node.images.model import ImageError
    from sampan.node.images.store import ImageStore

    store = ImageStore(agents.image_directory(cluster))
    try:
        if container_runtime.is_cri(cluster) and (of_runtime := _OF_RUNTIME.get(arguments.verb)):
            return of_runtime(cluster, store, arguments)
        if of_cluster := _OF_CLUSTER.get(arguments.verb):
            return of_cluster(cluster, store, arguments)
        return _VERBS[arguments.verb](store, arguments)
    except (ImageError, OSError) as error:
        raise CommandError(str(error)) from error


def _as_root(cluster: Settings, arguments: argparse.Namespace) -> int:
    """The same command through sudo: the images belong to the node agents. The logins stay this user's."""
    sampan = [sys.executable, "-B", "-m", "sampan", "image", "--data-dir", str(cluster.directory)]
    logins = []
    if arguments.verb in (*_TRANSFERS, "build") and arguments.auth_file is None:
        logins = ["--auth-file", str(image_transfer.auth_file())]
    sys.stdout.flush()
    command = [*host.elevation(cluster), *sampan, *arguments.command_line, *logins, *image_build.completed(arguments)]
    return subprocess.run(command, check=False).returncode


def _load(store: "ImageStore", arguments: argparse.Namespace) -> int:
    for image in store.load_archive(arguments.archive):
        print(f"loaded {image.reference} ({_size(image.size)})")
    return 0


def _import(store: "ImageStore", arguments: argparse.Namespace) -> int:
    from sampan.node.images.model import ImageConfig

    pairs = [text.partition("=") for text in arguments.env]
    if any(not mark for _, mark, _ in pairs):
        raise CommandError("--env takes NAME=VALUE")
    config = ImageConfig(cmd=tuple(arguments.cmd), env=tuple((name, value) for name, _, value in pairs))
    image = store.import_rootfs(arguments.rootfs, arguments.tag, config)
    runs = f", which runs {shlex.join(arguments.cmd)}" if arguments.cmd else ""
    print(f"imported {arguments.tag} ({_size(image.size)}){runs}")
    return 0


def _list(store: "ImageStore", arguments: argparse.Namespace) -> int:
    return _show(store.list(), arguments)


def _list_of_both(cluster: Settings, store: "ImageStore", arguments: argparse.Namespace) -> int:
    async def listed(images: "CriImages") -> "Sequence[Image]":
        return images.list()

    return _show(image_runtime.with_runtime(cluster, store, listed), arguments)


def _show(images: "Sequence[Image]", arguments: argparse.Namespace) -> int:
    if arguments.quiet:
        print("\n".join(image.id for image in images))
        return 0
    print(f"{'IMAGE':<56} {'ID':<14} SIZE")
    for image in images:
        for name in image.repo_tags or ("<none>",):
            print(f"{name:<56} {image.id.removeprefix('sha256:')[:12]:<14} {_size(image.size)}")
    return 0


def _save(store: "ImageStore", arguments: argparse.Namespace) -> int:
    store.save(arguments.image, arguments.output)
    if "SUDO_UID" in os.environ:
        os.chown(arguments.output, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))
    print(f"saved {arguments.image} to {arguments.output}")
    return 0


def _remove(store: "ImageStore", arguments: argparse.Namespace) -> int:
    if not store.remove(arguments.image):
        raise CommandError(f"there is no image {arguments.image}; see: sampan image list")
    print(f"removed {arguments.image}")
    return 0


def _prune(cluster: Settings, store: "ImageStore", arguments: argparse.Namespace) -> int:
    is_cri = container_runtime.is_cri(cluster)
    removed, freed = store.prune(image_runtime.used(cluster, store) if is_cri else agents.used_images(cluster))
    for image in removed:
        print(f"removed {image.reference}")
    print(f"{len(removed)} images removed, {_size(freed)} freed")
    return 0


_VERBS = {
    "load": _load,
    "import": _import,
    "list": _list,
    "save": _save,
    "rm": _remove,
    "inspect": image_build.inspect,
    "debootstrap": image_build.debootstrap,
}
_TRANSFERS = {"pull": image_transfer.pull, "push": image_transfer.push}
_OF_RUNTIME = {"list": _list_of_both, "rm": image_runtime.remove, "pull": image_runtime.pull}
_OF_CLUSTER = {**_TRANSFERS, "prune": _prune, "build": image_build.build}


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
