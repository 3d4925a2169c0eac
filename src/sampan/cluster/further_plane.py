"""A further control plane of a cluster: another process, here or on another machine, on the same etcd.

It has the same authorities, the same key for tokens, the same ranges of addresses and the same configuration as the
first one, from whose directory, or a copy of it, it takes them; its own certificates it makes itself.
"""

import dataclasses
import shutil
from pathlib import Path

from sampan.cluster import key_files, scheduler_config, server_config, settings
from sampan.cluster.settings import Settings
from sampan.kit import files
from sampan.store.etcd_address import is_etcd

_KEYS = (
    *(f"{name}.{kind}" for name in (key_files.AUTHORITY, key_files.FRONT_PROXY_AUTHORITY) for kind in ("crt", "key")),
    key_files.TOKEN_KEY,
)
_RETIRED = ("sa-*.pub", "sa-*.key")


class FurtherPlaneError(Exception):
    """It can't be one: what is missing, and where."""


def of(first: Path, name: str, directory: Path) -> Settings:
    """The settings of a further control plane of the cluster in `first`. Raises FurtherPlaneError."""
    try:
        found = settings.load(first)
    except settings.SettingsError as error:
        raise FurtherPlaneError(str(error)) from error
    if found is None:
        raise FurtherPlaneError(f"{first} holds no cluster: it is to be a control plane's --data-dir, or a copy of it")
    if found.joined_to:
        raise FurtherPlaneError(f"{first} is a node of {found.joined_to}, not a control plane")
    if found.rootless:
        raise FurtherPlaneError(
            f"cluster {found.name} runs without root, in a network of its own, and no other control plane would reach its "
            "nodes; make it anew with root's rights first: sampan down --purge, then sampan up"
        )
    if not is_etcd(found.store):
        raise FurtherPlaneError(
            f"cluster {found.name} has its objects in {found.store}, which only one control plane can use; "
            f"move them first: sampan migrate --to etcd://HOST:PORT"
        )
    missing = [file for file in _KEYS if not (first / "pki" / file).exists()]
    if missing:
        raise FurtherPlaneError(f"{first / 'pki'} lacks {', '.join(missing)}: the first control plane makes them")
    return dataclasses.replace(
        found, name=name, directory=directory, nodes=0, listen="127.0.0.1", kubeconfig="", previous_context="",
        node_ip="", overlay="", rootless=False, api_at=found.api_address, nodes_at=found.node_addresses(),
    )  # fmt: skip


def again(known: Settings, first: Path) -> Settings:
    """A further control plane that was there, with what may be otherwise by now at the first one's machine, or was not
    noted by an older version. Whatever is none of that cluster stays as it is. Raises FurtherPlaneError.
    """
    found = of(first, known.name, known.directory)
    authority = f"{key_files.AUTHORITY}.crt"
    own = known.path("pki", authority)
    is_one = not (known.nodes or known.joined_to) and own.exists() and first.resolve() != known.directory.resolve()
    if not is_one or not _is_same(first / "pki" / authority, own):
        return known
    return dataclasses.replace(known, api_at=found.api_at, nodes_at=found.nodes_at)


def take_over(first: Path, cluster: Settings) -> None:
    """Copies what both must have alike, once. Raises FurtherPlaneError when the directory has other keys."""
    there, here = first / "pki", cluster.path("pki")
    cluster.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    here.mkdir(exist_ok=True, mode=0o700)
    keys = [there / name for name in _KEYS] + [file for kind in _RETIRED for file in sorted(there.glob(kind))]
    for file in keys:
        copy = here / file.name
        if not copy.exists():
            files.write_whole(copy, file.read_bytes(), file.stat().st_mode & 0o777)
        elif not _is_same(file, copy):
            raise FurtherPlaneError(f"{copy} is another key than {file}: {cluster.directory} is another cluster's")
    for name in (server_config.FILE, scheduler_config.FILE):
        if (first / name).exists():
            shutil.copy(first / name, cluster.path(name))


def _is_same(file: Path, copy: Path) -> bool:
    """Whether it is the same key; an authority's may have got another certificate, where it was started in its last years."""
    there, here = file.read_bytes(), copy.read_bytes()
    if there == here or file.suffix != ".crt":
        return there == here
    from sampan.web import certificates  # slow to load, and hardly ever needed

    try:
        return certificates.key_hash(there) == certificates.key_hash(here)
    except ValueError:  # one of them is damaged
        return False
