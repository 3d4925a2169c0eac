"""What `deploy` and `dev` are given: a folder, an image or a compose file, built and translated into objects."""

import argparse
import hmac
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.cli.image_build import BUILD_ARGUMENTS
from sampan.cli.main import CommandError
from sampan.cluster import key_files
from sampan.cluster.settings import Settings

if TYPE_CHECKING:
    from sampan.cluster.apps.objects import Application, Object

COMPOSE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that an image is built of, with its Containerfile."""

    path: Path
    file: Path


@dataclass(slots=True)
class App:
    """An application: its objects in waves, notes on its translation, and the folders that it is built of."""

    identity: "Application"
    waves: "list[list[Object]]" = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.identity.name


def load(cluster: Settings, arguments: argparse.Namespace) -> App:
    """Builds (but not for a dry run) and translates. Raises CommandError."""
    file = compose_file(arguments.source)
    try:
        app = _composed(cluster, arguments, file) if file else _single(cluster, arguments)
    except ValueError as error:
        raise CommandError(f"{file}: {error}" if file else str(error)) from error
    if arguments.namespace != "default":
        from sampan.cluster.apps import objects

        app.waves.insert(0, [objects.namespace(arguments.namespace)])
    return app


def compose_file(source: str) -> Path | None:
    """The compose file that is meant, if one is."""
    path = Path(source)
    if path.is_dir():
        if containerfile(path) is None:
            return next((path / name for name in COMPOSE_NAMES if (path / name).is_file()), None)
        return None
    return path if path.suffix in (".yaml", ".yml") and path.is_file() else None


def containerfile(folder: Path) -> Path | None:
    """The folder's Containerfile."""
    from sampan.node.images.building import context

    return context.find(folder)


def folders(arguments: argparse.Namespace) -> tuple[list[Folder], list[Path]]:
    """What is built, and other files that count: to be watched. Raises CommandError."""
    file = compose_file(arguments.source)
    if file is None:
        path = Path(arguments.source)
        return [Folder(path, _file_of(path, arguments.file))], []
    from sampan.cluster.apps import compose
    from sampan.cluster.apps.compose_values import ComposeError

    try:
        tree, _ = compose.load(_read(file), _surroundings(file, b""))
        found = compose.builds(tree, "app").values()
    except ComposeError as error:
        raise CommandError(f"{file}: {error}") from error
    return [_folder(file, build) for build in found], [file, file.parent / ".env"]


def _folder(file: Path, build: Any) -> Folder:
    path = (file.parent / build.context).resolve()
    return Folder(path, _file_of(path, path / build.file if build.file else None))


def _file_of(folder: Path, file: Path | None) -> Path:
    found = file or (containerfile(folder) if folder.is_dir() else None)
    if found is None:
        raise CommandError(f"there is no Containerfile, Dockerfile or compose.yaml in {folder}; name one with -f FILE")
    return found


def _single(cluster: Settings, arguments: argparse.Namespace) -> App:
    """A folder or an image. Raises ValueError, CommandError."""
    from sampan.cluster.apps import image
    from sampan.cluster.apps.objects import Application

    source = Path(arguments.source)
    is_folder = source.is_dir()
    if not is_folder and (os.sep in arguments.source[:2] or source.is_file()):
        raise CommandError(f"{source} is neither a folder, nor a compose file (.yaml), nor an image")
    repository = _repository(arguments.source)
    name = _app_name(arguments.app or (source.resolve().name if is_folder else repository.rpartition("/")[2]))
    folder_mark = _folder_mark(cluster, source) if is_folder and not arguments.app else ""
    app = Application(name, arguments.namespace, "Containerfile" if is_folder else f"image {repository}", folder_mark)
    reference: str = arguments.source
    config: Object = {}
    if arguments.remove:
        config = {"ExposedPorts": {"80/tcp": {}}}  # any port stands for the Service
    elif is_folder:
        folder = Folder(source, _file_of(source, arguments.file))
        reference = f"{name}:latest"
        if arguments.dry_run or cluster.runtime == "simulated":
            config = _foretold(cluster, folder, arguments)
        else:
            build(cluster, folder, reference, [("--build-arg", text) for text in arguments.build_arg])
            known = _image(cluster, reference, arguments)
            reference, config = _exact(reference, known), known.get("Config") or {}
    else:
        config = _image(cluster, reference, arguments).get("Config") or {}
    wish = image.Wish(reference, arguments.port, arguments.replicas, _environment(arguments))
    return App(app, [image.translate(app, wish, config)])


def _repository(reference: str) -> str:
    """An image's name without tag and digest: its versions are one source."""
    place, mark, last = reference.partition("@")[0].rpartition("/")
    return place + mark + last.partition(":")[0]


def _foretold(cluster: Settings, folder: Folder, arguments: argparse.Namespace) -> "Object":
    """The configuration that the image will have. Raises ValueError, CommandError."""
    from sampan.node.images import archive
    from sampan.node.images.building import context, foretelling, stages
    from sampan.node.images.model import ImageError

    given = dict(text.partition("=")[::2] for text in arguments.build_arg)
    try:
        found = context.load(folder.path, folder.file)
    except ImageError as error:
        raise CommandError(str(error)) from error
    plan = stages.plan(found.containerfile, stages.Wish(given, architecture=archive.architecture()))
    return foretelling.config(plan, lambda name: _image(cluster, name, arguments).get("Config") or {})


def _composed(cluster: Settings, arguments: argparse.Namespace, file: Path) -> App:
    """Raises ValueError, CommandError."""
    from sampan.cluster.apps import compose
    from sampan.cluster.apps.objects import Application

    for option in ("port", "env", "replicas"):
        if getattr(arguments, option):
            raise CommandError(f"--{option} is for a folder or an image; say it in {file}")
    around = _surroundings(file, _content_key(cluster))
    tree, notes = compose.load(_read(file), around)
    said = arguments.app or str(tree.get("name") or "")
    name = _app_name(said or file.resolve().parent.name)
    source = COMPOSE_NAMES[0] if file.name in COMPOSE_NAMES else file.name
    app = Application(name, arguments.namespace, source, "" if said else _folder_mark(cluster, file.parent))
    asked = compose.builds(tree, name)
    images = {service: one.image for service, one in asked.items()}
    project = compose.translate(tree, app, images, around)  # before anything is built
    if asked and not arguments.dry_run and not arguments.remove:
        for service, one in asked.items():
            options = [("--target", one.target)] if one.target else []
            build(cluster, _folder(file, one), one.image, options, dict(one.arguments))
            images[service] = _exact(one.image, _image(cluster, one.image, arguments))
        project = compose.translate(tree, app, images, around)
    return App(app, project.waves, [*notes, *project.notes])


def _folder_mark(cluster: Settings, folder: Path) -> str:
    """Tells folders of one name apart, and nobody where they are."""
    from sampan.cluster.apps import objects

    return objects.fingerprint(_content_key(cluster), f"folder {folder.resolve()}")


def _content_key(cluster: Settings) -> bytes:
    """Made of the key of the cluster's authority: always the same, and known to nobody who may not have everything."""
    authority = _read(cluster.path("pki", f"{key_files.AUTHORITY}.key"))
    return hmac.digest(authority.encode(), b"contents of applications", "sha256")


def _surroundings(file: Path, key: bytes) -> Any:
    from sampan.cluster.apps import compose_files

    folder = file.resolve().parent
    own = folder / ".env"
    variables = dict(compose_files.environment(_read(own), str(own))) if own.is_file() else {}
    variables |= os.environ
    return compose_files.Surroundings(variables, lambda path: (folder / path).read_text(), str(folder), key)


def build(
    cluster: Settings, folder: Folder, tag: str, options: list[tuple[str, str]], given: Mapping[str, str] | None = None
) -> None:
    """Builds the image, in a process of its own: it hears Ctrl-C by itself. Raises CommandError.

    `given` are values of build arguments: others on this machine see a command line, but not what it is given so.
    """
    if cluster.runtime == "simulated":
        return
    print(f"building {tag} of {folder.path}", flush=True)
    words = [word for pair in options for word in pair]
    _do(cluster, "build", "-t", tag, "-f", str(folder.file.resolve()), *words, str(folder.path.resolve()), given=given)


def _do(cluster: Settings, *command: str, given: Mapping[str, str] | None = None) -> None:
    """`sampan image ...` in a process of its own, whose failure is ours. Raises CommandError."""
    done = subprocess.run(
        [*_image_command(cluster), *command],
        check=False,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, BUILD_ARGUMENTS: json.dumps(dict(given or {}))},
    )
    *notes, last = done.stderr.splitlines() or [""]
    for line in notes if done.returncode or not last else (*notes, last):
        print(line, file=sys.stderr)
    if done.returncode:
        raise CommandError(last.removeprefix("sampan image: ") or f"image {command[0]} failed")


def _image(cluster: Settings, reference: str, arguments: argparse.Namespace) -> "Object":
    """What the image says, if it can be had. Raises CommandError when it has to be pulled, and can't be."""
    if cluster.runtime == "simulated":
        return {}
    found = _inspected(cluster, reference)
    if found is not None or arguments.dry_run:
        return found or {}
    try:
        _do(cluster, "pull", reference)
    except CommandError as error:
        raise CommandError(f"there is no image {reference}, and it can't be pulled: {error}") from error
    return _inspected(cluster, reference) or {}


def _inspected(cluster: Settings, reference: str) -> "Object | None":
    command = [
        sys.executable,
        "-B",
        "-m",
        "sampan",
        "image",
        "--data-dir",
        str(cluster.directory),
        "inspect",
        reference,
    ]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        return None
    found: Object = json.loads(done.stdout)
    return found


def _image_command(cluster: Settings) -> list[str]:
    return [sys.executable, "-B", "-m", "sampan", "image", "--data-dir", str(cluster.directory)]


def _exact(reference: str, known: "Object") -> str:
    """The image by its digest, so that pods are replaced when it is another one."""
    digests = known.get("RepoDigests") or ()
    return str(digests[0]) if digests else reference


def _environment(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """--env; a name alone takes its value from here."""
    found = []
    for text in arguments.env:
        name, mark, value = text.partition("=")
        if not name or (not mark and name not in os.environ):
            raise CommandError(f"--env {text}: it must be NAME=VALUE")
        found.append((name, value if mark else os.environ[name]))
    return found


def _app_name(text: str) -> str:
    from sampan.cluster.apps import compose_values

    return compose_values.name_of(re.sub(r"[^a-zA-Z0-9.-]+", "-", text), "application")


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} can't be read: {error}") from error
