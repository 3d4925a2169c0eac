"""The options of `sampan up` and `sampan migrate` that say which etcd, and how to be let in."""

import argparse
from importlib.util import find_spec
from pathlib import Path

from sampan.cli.main import CommandError
from sampan.store.etcd_address import OPTIONS, Address, is_etcd

METAVAR = "sqlite|memory|etcd://HOST:PORT,..."


def arguments(parser: argparse.ArgumentParser) -> None:
    """The files of TLS; they may be in the URL as well."""
    told = {"ca": "the authority that signed etcd's certificates", "cert": "our certificate", "key": "and its key"}
    for name in OPTIONS:
        parser.add_argument(f"--store-{name}", type=Path, metavar="FILE", help=f"for etcd over TLS: {told[name]} (PEM)")


def store(text: str) -> str:
    """The type of an option that names a store."""
    if text not in ("sqlite", "memory") and not is_etcd(text):
        raise argparse.ArgumentTypeError(f"{text} is not a store: sqlite, memory or etcd://HOST:PORT,...")
    return text


def chosen(named: str | None, arguments: argparse.Namespace, known: str = "") -> str | None:
    """The store with everything that is needed to reach it, None when nothing was asked. Raises CommandError.

    `named` is what was asked for, `known` what there is already: files can be given for that too.
    """
    files = {name: str(found) for name in OPTIONS if (found := getattr(arguments, f"store_{name}")) is not None}
    wanted = named or (known if files else None)
    if wanted is None:
        return None
    if not is_etcd(wanted):
        if files:
            raise CommandError(f"--store-{min(files)} is for an etcd, not for {wanted}")
        return wanted
    try:
        address = Address.parse(wanted).with_files(**files)
    except ValueError as error:
        raise CommandError(f"--store: {error}") from error
    if any(find_spec(module) is None for module in ("grpc", "google")):
        raise CommandError(f"--store {address} needs gRPC: pip install 'sampan[etcd]'")
    return address.url


def shown(store: str) -> str:
    """For people: without a password."""
    return str(Address.parse(store)) if is_etcd(store) else store
