"""Which runtime runs a cluster's containers, as `--runtime` names it: oci, simulated, or a CRI endpoint."""

import os

from sampan.cluster.doctor import PARTS, Finding, Part
from sampan.cluster.settings import Settings

OWN = ("oci", "simulated")
SCHEME = "unix://"
CRI = f"{SCHEME}/run/containerd/containerd.sock"
"""What `cri` stands for: where containerd listens if nobody says otherwise."""

_OF_CRI = (Part("ctr", "containerd"),)
_NOT_OF_CRI = {"runc", "conmon"}


class ContainerRuntimeError(Exception):
    """The runtime can't be used: one line that says what, why and how to mend it."""


def parse(text: str) -> str:
    """The setting that the option's value stands for. ValueError."""
    if text in ("auto", *OWN):
        return text
    if text == "cri":
        return CRI
    if text.startswith(f"{SCHEME}/") and text.removeprefix(SCHEME) != "/":
        return text
    raise ValueError(f"{text} is not a runtime: auto, oci, simulated, cri, or unix:///PATH of a containerd's socket")


def is_cri(cluster: Settings) -> bool:
    """Whether its containers are run by a runtime that is there already."""
    return cluster.runtime.startswith(SCHEME)


def parts(cluster: Settings) -> tuple[Part, ...]:
    """The programs that its nodes need."""
    if not is_cri(cluster):
        return PARTS
    return tuple(part for part in PARTS if part.name not in _NOT_OF_CRI) + _OF_CRI


def check(cluster: Settings) -> None:
    """Before anything starts, as far as the invoking user may look. Raises ContainerRuntimeError."""
    if not is_cri(cluster):
        return
    path = cluster.runtime.removeprefix(SCHEME)
    if os.geteuid() != 0 and os.path.exists(path):
        return  # only root may ask; the node agent will
    from sampan.node.runtime.cri import link
    from sampan.node.runtime.protocol import RuntimeUnusable

    try:
        link.check(cluster.runtime)
    except RuntimeUnusable as error:
        raise ContainerRuntimeError(str(error)) from error


def findings() -> list[Finding]:
    """What there is to say of this machine's containerd; nothing if there is none, since none is needed."""
    path = CRI.removeprefix(SCHEME)
    if not os.path.exists(path):  # or in a folder that only root may look into
        return []
    if os.geteuid() != 0:
        return [
            Finding("note", f"a container runtime listens at {CRI} (only root may look)", "sampan up --runtime cri")
        ]
    from sampan.node.runtime.cri import link
    from sampan.node.runtime.protocol import RuntimeUnusable

    try:
        facts = link.check(CRI)
    except RuntimeUnusable as error:
        return [Finding("note", f"--runtime cri is not possible: {error}")]
    return [Finding("ok", f"{facts.name} {facts.version} at {CRI}, for: sampan up --runtime cri")]
