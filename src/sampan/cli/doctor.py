"""Say what this machine lacks for real containers, and what is wrong with the cluster's etcd if it has one; and the mends."""

import argparse
import asyncio
import os
from collections.abc import Iterable
from dataclasses import replace

from sampan.cli import common, etcd_options
from sampan.cli.main import CommandError
from sampan.cluster import container_runtime, doctor, escapes, sandbox_checks
from sampan.cluster.doctor import Finding
from sampan.kit import wall
from sampan.store.etcd_address import Address, is_etcd

_MARKS = {"ok": "ok  ", "info": "note", "warning": "warn", "error": "FAIL"}


def arguments(parser: argparse.ArgumentParser) -> None:
    common.cluster_arguments(parser)
    parser.add_argument(
        "--store",
        type=etcd_options.store,
        metavar="etcd://HOST:PORT,...",
        help="an etcd to look at (default: the cluster's, if it has one)",
    )
    etcd_options.arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Returns 1 when something that is needed is missing."""
    store = _store(arguments)
    without_root = sandbox_checks.findings() if os.geteuid() else []
    facts = doctor.gather(common.directory(arguments))
    facts = replace(facts, has_sandbox=any(finding.level == "ok" for finding in without_root))
    findings = [*doctor.examine(facts), *escapes.findings(), *container_runtime.findings(), *without_root]
    _show(findings)
    of_store = _look(store) if store is not None else []
    _show(of_store)
    if failed := _errors(findings):
        print(f"{failed} to mend before real containers run; without them: sampan up --runtime simulated")
    if lost := _errors(of_store):
        print(f"{lost} to mend of the etcd at {store}")
    return 1 if failed or lost else 0


def _show(findings: Iterable[Finding]) -> None:
    for finding in findings:
        print(f"[{_MARKS.get(finding.level, finding.level)}] {finding.what}")
        if finding.mend and finding.level != "ok":
            print(f"       {finding.mend}")


def _errors(findings: Iterable[Finding]) -> int:
    return sum(finding.level == "error" for finding in findings)


def _store(arguments: argparse.Namespace) -> Address | None:
    """The etcd that is asked for, or that the cluster has. CommandError."""
    if arguments.store and not is_etcd(arguments.store):
        raise CommandError(f"--store is for an etcd, not for {arguments.store}")
    known = common.load(common.directory(arguments))
    chosen = etcd_options.chosen(arguments.store, arguments, known.store if known is not None else "")
    found = chosen or (known.store if known is not None else "")
    try:
        return Address.parse(found) if is_etcd(found) else None
    except ValueError as error:
        raise CommandError(f"--store: {error}") from error


def _look(address: Address) -> list[Finding]:
    try:
        from sampan.cluster import doctor_etcd
    except ImportError:
        return [Finding("error", f"the etcd at {address} needs gRPC", "pip install 'sampan[etcd]'")]
    return doctor_etcd.examine(asyncio.run(doctor_etcd.gather(address)), wall.now())
