"""Build an image of a Containerfile (or Dockerfile), with a cache of its steps; look at an image; make a Debian."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from sampan.cli import image_transfer
from sampan.cli.main import CommandError
from sampan.cluster import sandbox
from sampan.cluster.settings import Settings

if TYPE_CHECKING:
    from sampan.node.images.store import ImageStore

EPOCH = "SOURCE_DATE_EPOCH"
BUILD_ARGUMENTS = "SAMPAN_BUILD_ARGUMENTS"
"""The variable of the environment that has more build arguments, as a JSON object: no other user of the machine sees it."""
SHOWN_SIGNS = 100
_OF_DEBOOTSTRAP = ("var/cache/apt/archives/*.deb", "var/cache/apt/*.bin", "var/lib/apt/lists/*", "var/log/*.log",
                   "var/log/apt/*", "var/cache/ldconfig/aux-cache", "etc/machine-id", "etc/hostname", "etc/resolv.conf")  # fmt: skip


def arguments(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The verbs build, inspect and debootstrap."""
    build = verbs.add_parser("build", help="build an image of a Containerfile or Dockerfile")
    build.add_argument("context", type=Path, metavar="DIR", help="the folder that COPY takes files from")
    build.add_argument("-t", "--tag", action="append", default=[], help="the image's name, such as app:v1")
    build.add_argument("-f", "--file", type=Path, help="the Containerfile (default: DIR/Containerfile, DIR/Dockerfile)")
    build.add_argument("--target", default="", metavar="STAGE", help="the stage to build (default: the last)")
    build.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="a value for ARG")
    build.add_argument("--no-cache", action="store_true", help="carry every step out")
    build.add_argument("--platform", default="", help="only this machine's can be built")
    build.add_argument("--source-date-epoch", type=int, metavar="SECONDS", help="what files are dated with")
    build.add_argument("-q", "--quiet", action="store_true", help="print the image's id only")
    build.add_argument("--auth-file", type=Path, help="logins for base images (~/.docker/config.json)")
    inspect = verbs.add_parser("inspect", help="print what an image is, as JSON")
    inspect.add_argument("image")
    debian = verbs.add_parser("debootstrap", help="make an image of a Debian (or Ubuntu) by debootstrap")
    debian.add_argument("suite", help="such as bookworm")
    debian.add_argument("mirror", nargs="?", default="", help="where packages come from (default: debootstrap's own)")
    debian.add_argument("-t", "--tag", default="", help="the image's name (default: debian:SUITE)")
    debian.add_argument("--include", default="", metavar="PACKAGES", help="further ones, with commas")


def completed(arguments: argparse.Namespace) -> list[str]:
    """Options that root has to be told, as its environment is another one."""
    if arguments.verb != "build" or arguments.source_date_epoch is not None or EPOCH not in os.environ:
        return []
    return ["--source-date-epoch", os.environ[EPOCH]]


def build(cluster: Settings, store: "ImageStore", arguments: argparse.Namespace) -> int:
    """Raises ImageError."""
    from sampan.node.images import archive
    from sampan.node.images.building import builder, context, stages, steps
    from sampan.node.images.building.containerfile import ContainerfileError

    began = monotonic()
    architecture = archive.architecture()
    if arguments.platform not in ("", f"linux/{architecture}"):
        raise CommandError(f"--platform {arguments.platform}: only linux/{architecture} can be built on this machine")
    found = context.load(arguments.context, arguments.file)
    given = {**json.loads(os.environ.get(BUILD_ARGUMENTS, "{}")), **dict(_pair(text) for text in arguments.build_arg)}
    epoch = _epoch(arguments, given)
    try:
        plan = stages.plan(found.containerfile, stages.Wish(given, arguments.target, architecture))
    except ContainerfileError as error:
        raise CommandError(f"{found.file}: {error}") from error
    shown = Progress(is_quiet=arguments.quiet)
    for name in plan.unused:
        shown.note(f"no ARG asks for --build-arg {name}")
    resolver = f"nameserver {sandbox.RESOLVER}\n" if cluster.rootless else ""
    conditions = steps.Conditions(not arguments.no_cache, epoch, resolver)
    work = builder.Builder(store, found, shown, lambda name: _pull(cluster, store, arguments, name))
    try:
        image = work.build(plan, arguments.tag, conditions)
    finally:
        shown.close()
    if arguments.quiet:
        print(image.id)
    else:
        name = arguments.tag[0] if arguments.tag else "an image without a name"
        print(f"built {name} ({image.size / 1e6:.1f} MB, {monotonic() - began:.1f} s)\n{image.id}")
    return 0


def inspect(store: "ImageStore", arguments: argparse.Namespace) -> int:
    """Raises CommandError when there is none."""
    image = store.resolve(arguments.image)
    if image is None:
        raise CommandError(f"there is no image {arguments.image}; see: sampan image list")
    document = store.origin(image).document
    shown = {
        "Id": image.id,
        "RepoTags": list(image.repo_tags),
        "RepoDigests": list(image.repo_digests),
        "Size": image.size,
        "Created": document.get("created", ""),
        "Architecture": document.get("architecture", ""),
        "Os": document.get("os", ""),
        "Config": document.get("config") or {},
        "RootFS": {"Type": "layers", "Layers": (document.get("rootfs") or {}).get("diff_ids", [])},
        "History": document.get("history") or [],
    }
    print(json.dumps(shown, indent=2))
    return 0


def debootstrap(store: "ImageStore", arguments: argparse.Namespace) -> int:
    """Raises CommandError."""
    from sampan.node.images import workrooms
    from sampan.node.images.model import ImageConfig
    from sampan.node.runtime import programs

    program = programs.find("debootstrap")
    if not os.access(program, os.X_OK):
        raise CommandError("debootstrap is not installed; try: sudo apt install debootstrap")
    tag = arguments.tag or f"debian:{arguments.suite}"
    with workrooms.locked(store.builds):
        name, in_use = workrooms.make(store.builds, "debootstrap-")
    folder = Path(name)
    folder.chmod(0o755)
    options = ["--variant=minbase", *([f"--include={arguments.include}"] if arguments.include else [])]
    command = [program, *options, arguments.suite, str(folder), *([arguments.mirror] if arguments.mirror else [])]
    try:
        if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
            raise CommandError(f"debootstrap failed: {' '.join(command)}; see its last lines above")
        for pattern in _OF_DEBOOTSTRAP:
            for path in folder.glob(pattern):
                path.unlink() if path.is_file() or path.is_symlink() else shutil.rmtree(path)
        image = store.import_rootfs(folder, tag, ImageConfig(cmd=("bash",)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(in_use)
    print(f"made {tag} ({image.size / 1e6:.1f} MB)")
    return 0


def _pull(cluster: Settings, store: "ImageStore", arguments: argparse.Namespace, name: str) -> None:
    """Raises ImageError."""
    from sampan.node.images.model import ImageError

    try:
        image_transfer.fetch(cluster, store, argparse.Namespace(image=name, auth_file=arguments.auth_file))
    except ImageError as error:
        suite = name.partition(":")[2]
        is_debian = name.startswith(("debian:", "docker.io/library/debian:")) and suite
        mend = (
            f"sampan image debootstrap {suite.removesuffix('-slim')} --tag {name}"
            if is_debian
            else "sampan image load ARCHIVE"
        )
        raise ImageError(f"{name} is not here, and can't be pulled: {error}; without a registry: {mend}") from error


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    return name, value if mark else os.environ.get(name, "")


def _epoch(arguments: argparse.Namespace, given: dict[str, str]) -> int:
    from sampan.node.images.building import result

    text = given.get(EPOCH) or os.environ.get(EPOCH, "")
    if arguments.source_date_epoch is not None:
        return max(int(arguments.source_date_epoch), 0)
    if not text:
        return result.EPOCH
    if not text.isdecimal() or len(text) > 11:
        raise CommandError(f"{EPOCH}={text}: it must be a number of seconds")
    return int(text)


class Progress:
    """Each step with how long it took, and what its command prints."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        self._is_quiet, self._began, self._text = is_quiet, 0.0, ""
        self._is_open = self._is_midline = False
        self._kept = b""

    def step(self, place: str, text: str) -> None:
        """Shows it at once; how it ended follows on the same line, unless it prints something."""
        self.close()
        self._began, self._is_open = monotonic(), True
        line = " ".join(text.split())
        short = line if len(line) <= SHOWN_SIGNS else line[: SHOWN_SIGNS - 3] + "..."
        self._text = f"[{place}] {short}"
        self._show(self._text)

    def end(self, *, cached: bool) -> None:
        """How it ended."""
        self._flush_kept()
        ending = "cached" if cached else f"{monotonic() - self._began:.1f} s"
        self._show(f"  {ending}\n")
        self._is_open = self._is_midline = False

    def output(self, data: bytes) -> None:
        """Lines, set in."""
        if not self._is_midline:
            self._show("\n")
            self._is_midline = True
        *lines, self._kept = (self._kept + data).split(b"\n")
        for line in lines:
            self._show(f"    {_clean(line)}\n")
        if len(self._kept) > 1 << 16:
            self._flush_kept()

    def note(self, text: str) -> None:
        """A warning."""
        print(f"note: {text}", file=sys.stderr)

    def close(self) -> None:
        """Ends a line that was left open."""
        self._flush_kept()
        if self._is_open and not self._is_midline:
            self._show("\n")
        self._is_open = self._is_midline = False

    def _flush_kept(self) -> None:
        if self._kept:
            self._show(f"    {_clean(self._kept)}\n")
            self._kept = b""

    def _show(self, text: str) -> None:
        if not self._is_quiet:
            print(text, end="", flush=True)


def _clean(line: bytes) -> str:
    """What a program wrote, without what would move the cursor."""
    text = line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
    return "".join(sign if sign.isprintable() or sign == "\t" else "?" for sign in text)
