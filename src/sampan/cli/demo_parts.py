"""What the demos share: a cluster that is started when it does not run, and an image of the example's programs."""

import argparse
import shutil
import tempfile
from pathlib import Path
from time import monotonic

from sampan.cli import common, up
from sampan.cli.main import CommandError
from sampan.cluster import agents, host, python_rootfs, settings
from sampan.cluster.settings import Settings


class Course:
    """Says what is done, and when since the beginning."""

    def __init__(self) -> None:
        self._began = monotonic()

    def say(self, text: str) -> None:
        print(f"  {text:<48} {monotonic() - self._began:6.2f} s", flush=True)


def cluster(arguments: argparse.Namespace) -> Settings:
    """The cluster, started when it does not run. Raises CommandError."""
    options = argparse.ArgumentParser()
    up.arguments(options)
    wanted = options.parse_args([])
    wanted.name, wanted.data_dir = arguments.name, arguments.data_dir
    wanted.kubeconfig, wanted.yes = arguments.kubeconfig, arguments.yes
    wanted.allow_vulnerable_runtime = arguments.allow_vulnerable_runtime
    up.run(wanted)
    found = common.load(common.directory(arguments))
    if found is None or not host.is_running(found):
        raise CommandError("the cluster did not start; see: sampan logs")
    if found.runtime == "simulated":
        raise CommandError("the demo runs real containers, and this cluster's nodes are simulated; use another --name")
    if found.rootless:
        raise CommandError(
            "the demo asks its application from this host, and Services of a cluster without root can't be reached from there; use another --name"
        )
    return found


def example(name: str) -> Path:
    """Where the example is: beside the package when installed, in the project when run from a clone."""
    package = Path(__file__).parent.parent
    for place in (package / "examples" / name, package.parent.parent / "examples" / name):
        if place.exists():
            return place
    raise CommandError(f"the example {name} is missing from this installation")


def image(cluster: Settings, reference: str, programs: list[Path]) -> str:
    """Makes and loads the image unless it is there; says which."""
    from sampan.cli.main import run as sampan

    if agents.has_image(cluster, reference):
        return f"{reference} is there already"
    scratch = Path(tempfile.mkdtemp(prefix="sampan-demo-"))
    try:
        python_rootfs.build(scratch / "rootfs", programs)
        where = ["--name", cluster.name, "--data-dir", str(cluster.directory)]
        if sampan(["image", *where, "import", str(scratch / "rootfs"), "--tag", reference, "--cmd", "python3"]):
            raise CommandError(f"the image {reference} could not be made")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return f"{reference} made and loaded"


def context_option(cluster: Settings) -> str:
    """What kubectl has to be told."""
    return "" if cluster.context == "sampan" else f" --context {cluster.context}"


def name_option(cluster: Settings) -> str:
    """What sampan has to be told."""
    return "" if cluster.name == settings.DEFAULT_NAME else f" --name {cluster.name}"
