"""Say what this machine lacks for real containers, and how to mend it."""

import argparse
import os
from dataclasses import replace

from sampan.cli import common
from sampan.cluster import container_runtime, doctor, escapes, sandbox_checks

_MARKS = {"ok": "ok  ", "info": "note", "warning": "warn", "error": "FAIL"}


def arguments(parser: argparse.ArgumentParser) -> None:
    common.cluster_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Returns 1 when something that is needed is missing."""
    without_root = sandbox_checks.findings() if os.geteuid() else []
    facts = doctor.gather(common.directory(arguments))
    facts = replace(facts, has_sandbox=any(finding.level == "ok" for finding in without_root))
    findings = [*doctor.examine(facts), *escapes.findings(), *container_runtime.findings(), *without_root]
    for finding in findings:
        print(f"[{_MARKS.get(finding.level, finding.level)}] {finding.what}")
        if finding.mend and finding.level != "ok":
            print(f"       {finding.mend}")
    failed = [f for f in findings if f.level == "error"]
    if failed:
        print(f"{len(failed)} to mend before real containers run; without them: sampan up --runtime simulated")
    return 1 if failed else 0
