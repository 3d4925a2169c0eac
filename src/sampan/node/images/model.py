"""An image as the node knows it: its id, names, size, configuration and unpacked layers.

The configuration follows the OCI image specification
(https://github.com/opencontainers/image-spec/blob/main/config.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says about the process that runs in it (the `config` object of an OCI image)."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the store; `layer_dirs` are absolute paths of unpacked layers, the lowest first."""

    id: str
    """`sha256:` and the digest of the image's configuration."""

    repo_tags: tuple[str, ...] = ()
    """Full references, as `docker.io/library/busybox:latest`."""

    repo_digests: tuple[str, ...] = ()
    """Full references by manifest digest, as `docker.io/library/busybox@sha256:...`."""

    size: int = 0
    """Bytes of the unpacked layers' regular files."""

    config: ImageConfig = field(default_factory=ImageConfig)
    layer_dirs: tuple[str, ...] = ()
    is_pinned: bool = False
    """It was loaded or imported by hand, so it can't be had again: only who asks for it by name removes it."""

    @property
    def reference(self) -> str:
        """The name a pod's status shows: the first tag, else the first digest, else the id."""
        return next(iter(self.repo_tags + self.repo_digests), self.id)


class ImageError(Exception):
    """An archive, reference or root file system that cannot be taken as an image; the text says why."""
