"""Upstream's own end-to-end tests, run against a cluster of ours, and what came of each.

    scripts/upstream-suite [--only REGEX] [--without REGEX] [--parallel N]     # default: all that are for conformance

Tests that say [Serial] or [Disruptive] run by themselves, after the others. A test counts as failed unless `differences.yaml`
names it: these ask for what has been taken away or changed between 1.20 and 1.36, and each says what. Tokens in Secrets, which
no cluster gives to ServiceAccounts any more, are given by `tokens.py` beside the suite.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).parent
NAME = "upstream"
BASE = "upstream-base:1"
CONFORMANCE = r"\[Conformance\]"
ALONE = r"\[Serial\]|\[Disruptive\]"
PACKAGES = "bash,curl,wget,dnsutils,netcat-openbsd,iproute2,iperf,util-linux,procps,net-tools,ca-certificates,perl,nginx-light,apache2,etcd-server"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the suite was built, and the cluster's own directory."""

    root: Path
    data: Path

    def sampan(self, *words: str) -> None:
        """A command of ours for the cluster; raises CalledProcessError when it fails."""
        cluster = ("--name", NAME, "--data-dir", str(self.data))
        subprocess.run(["sampan", *words, *cluster], check=True, env=self.environment())

    def environment(self) -> dict[str, str]:
        """Variables for all programs."""
        return {**os.environ, "KUBECONFIG": str(self.root / "kubeconfig"), "E2E_SOURCE": str(self.root / "source")}


def main(words: Sequence[str] | None = None) -> int:
    """0 when no test failed that should not; prints each that did, and how many passed."""
    asked = _parser().parse_args(words)
    place = Place(asked.place, asked.place / "cluster")
    place.sampan("up", "--nodes", str(asked.nodes), "--allow-vulnerable-runtime")
    try:
        _make_images(place)
        reports = asked.place / "reports"
        shutil.rmtree(reports, ignore_errors=True)
        tokens = subprocess.Popen([sys.executable, "-m", "tests.upstream.tokens", str(place.root / "kubeconfig")])
        try:
            _run(place, reports / "together", (asked.only, rf"{asked.without}|{ALONE}"), asked.parallel)
            alone = [name for name in _names(place, asked.only, asked.without) if re.search(ALONE, name)]
            if alone:
                _run(place, reports / "alone", ("|".join(f"{_quoted(name)}$" for name in alone), asked.without), 1)
        finally:
            tokens.terminate()
            tokens.wait()
    finally:
        place.sampan("down", "--purge")
    return _tell(reports)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/upstream-suite", description=__doc__.split("\n")[0])
    parser.add_argument("--place", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument(
        "--only", default=CONFORMANCE, metavar="REGEX", help="tests whose names match (default: conformance)"
    )
    parser.add_argument("--without", default="NOTHING", metavar="REGEX", help="tests to leave out")
    parser.add_argument("--parallel", type=int, default=4, metavar="N", help="so many at once (default: 4)")
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help="nodes of the cluster (default: 3)")
    return parser


def _make_images(place: Place) -> None:
    made = subprocess.run(
        ["sampan", "image", "list", "--name", NAME, "--data-dir", str(place.data)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    if BASE not in made:
        place.sampan("image", "debootstrap", "bookworm", "--include", PACKAGES, "-t", BASE)
    for image in yaml.safe_load((HERE / "images.yaml").read_text()):
        with tempfile.TemporaryDirectory() as folder:
            context = Path(folder)
            (context / "Containerfile").write_text(image["steps"])
            for file in image["files"]:
                _add(place, file, context)
            for name in image["names"]:
                place.sampan("image", "build", "-q", "-t", name, folder)


def _add(place: Place, file: str, context: Path) -> None:
    if file != "busybox":
        shutil.copy2(place.root / file, context)
        return
    bin_, etc = context / "busybox" / "bin", context / "busybox" / "etc"
    for name in ("bin", "etc", "root", "home", "tmp"):
        (context / "busybox" / name).mkdir(parents=True)
    (context / "busybox" / "tmp").chmod(0o1777)
    program = shutil.which("busybox") or "/bin/busybox"
    shutil.copy2(program, bin_ / "busybox")
    for applet in subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split():
        if applet != "busybox":
            (bin_ / applet).symlink_to("busybox")
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n")
    (etc / "group").write_text("root:x:0:\nnogroup:x:65534:\n")


def _run(place: Place, reports: Path, chosen: tuple[str, str], parallel: int) -> None:
    """One run of the tests that match the first expression and not the second; it leaves its report as JUnit's XML."""
    reports.mkdir(parents=True)
    only, without = chosen
    ginkgo = [str(place.root / "bin/ginkgo"), f"-nodes={parallel}", "-noColor", "-keepGoing"]
    suite = [
        str(place.root / "bin/e2e.test"), "--", "--provider=skeleton", f"--repo-root={place.root / 'source'}",
        f"--kubectl-path={place.root / 'bin/kubectl'}", f"--report-dir={reports}",
        f"--kubeconfig={place.root / 'kubeconfig'}",
    ]  # fmt: skip
    subprocess.run([*ginkgo, f"-focus={only}", f"-skip={without}", *suite], check=False, env=place.environment())


def _names(place: Place, only: str, without: str) -> list[str]:
    """The tests that match, by their whole names; none is run."""
    program = str(place.root / "bin/e2e.test")
    dry = ["--ginkgo.dryRun", "--ginkgo.noColor", f"--ginkgo.focus={only}", f"--ginkgo.skip={without}"]
    said = subprocess.run([program, *dry], check=True, capture_output=True, text=True, env=place.environment()).stdout
    told = [json.loads(found) for found in re.findall(r'\{"msg":"PASSED .*\}', said)]
    return [each["msg"].removeprefix("PASSED ") for each in told]


def _quoted(name: str) -> str:
    return re.sub(r"([^A-Za-z0-9 _:,=/-])", r"\\\1", name)


def results(reports: Path) -> Iterator[tuple[str, str]]:
    """Each test that was run, by its whole name, and why it failed: "" when it passed."""
    for file in sorted(reports.rglob("junit_*.xml")):
        for case in ET.parse(file).iter("testcase"):  # noqa: S314 (our own run wrote it)
            if case.find("skipped") is None:
                failure = case.find("failure")
                yield (
                    re.sub(r"\s+", " ", case.get("name", "")).strip(),
                    "" if failure is None else failure.text or "failed",
                )


def _tell(reports: Path) -> int:
    known = yaml.safe_load((HERE / "differences.yaml").read_text())
    passed, differ, failed = 0, 0, 0
    for name, why in results(reports):
        if not why:
            passed += 1
        elif name in known:
            differ += 1
            print(f"differs by right: {name}\n    {known[name]}")
        else:
            failed += 1
            words = [line.strip() for line in why.splitlines() if line.strip() and not line.strip().startswith("/")]
            print(f"FAILED: {name}\n    {' '.join(words)[:300]}")
    print(f"{passed} passed, {failed} failed, {differ} differ by right")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
