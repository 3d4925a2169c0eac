"""Image references: the full form of what a user writes, as Docker reads it.

`busybox` is `docker.io/library/busybox:latest`; see
https://github.com/distribution/reference for the grammar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_DOMAIN = "docker.io"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")
_ID = re.compile(r"(?:sha256:)?([a-f0-9]{64})")


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference: `repository` is the full name with its domain."""

    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def image_id(text: str) -> str | None:
    """`sha256:<64 hex>` if the text is an image id (with or without its prefix), else None."""
    found = _ID.fullmatch(text)
    return "sha256:" + found[1] if found else None


def parse(text: str) -> Reference:
    """The full reference; ValueError with Docker's words if it is none. A missing tag is `latest`."""
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError("invalid reference format")
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        head, tag = rest, ""
        colon = ""
    if colon and not _TAG.fullmatch(tag):
        raise ValueError("invalid reference format")
    domain, path = _split(head)
    if path.lower() != path:
        raise ValueError("invalid reference format: repository name must be lowercase")
    if not _PATH.fullmatch(path) or not _DOMAIN.fullmatch(domain) or image_id(head):
        raise ValueError("invalid reference format")
    repository = f"{domain}/{path}"
    if len(repository) > 255:
        raise ValueError("repository name must not be more than 255 characters")
    return Reference(repository, tag if tag or digest else "latest", digest)


def _split(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        first, rest = DEFAULT_DOMAIN, name
    if first == "index.docker.io":
        first = DEFAULT_DOMAIN
    if first == DEFAULT_DOMAIN and "/" not in rest:
        rest = "library/" + rest
    return first, rest
