"""From code to URL on a real cluster: images are built, folders and compose files deployed, and again on each save."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.clients.conftest import Cluster, needs_root

pytestmark = [needs_root, pytest.mark.root]

CONTAINERFILE = """FROM busybox:1.36
WORKDIR /www
COPY index.html .
RUN echo built >> index.html
EXPOSE 8000
STOPSIGNAL SIGKILL
CMD ["sh", "-c", "echo begins; exec httpd -f -p 8000 -h /www"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a page and a Containerfile."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "Containerfile").write_text(CONTAINERFILE)
    (folder / "index.html").write_text("one\n")
    return folder


def page(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return ""


def until_page(cluster: Cluster, url: str, text: str) -> None:
    """A pod without a probe is ready as soon as its process has begun; it listens a moment later."""
    cluster.until(f"{url} shows {text!r}", lambda: page(url) == text)


def url_of(output: str) -> str:
    assert " is up (" in output, output
    return output.strip().rpartition(" ")[2]


def test_images(cluster: Cluster, site: Path, tmp_path: Path) -> None:
    """Built quietly by root's own process, looked at, and made of what debootstrap leaves."""
    again = [cluster.sampan("image", "build", "-q", "-t", "site:test", str(site)) for _ in range(2)]
    assert again[0] == again[1]
    known = json.loads(cluster.sampan("image", "inspect", "site:test"))
    assert known["Id"] == again[0].strip()
    assert known["Config"]["ExposedPorts"] == {"8000/tcp": {}}
    done = cluster.run(
        "sampan",
        "image",
        "--data-dir",
        str(cluster.directory),
        "build",
        "--platform",
        "linux/vax",
        str(site),
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "only linux/" in done.stderr
    fake = tmp_path / "debootstrap"
    fake.write_text(
        '#!/bin/sh\necho "$@" >&2\nmkdir -p "$4/bin" "$4/var/lib/apt/lists/partial" "$4/etc"\ncp /bin/busybox "$4/bin"\n'
        'date > "$4/etc/machine-id"\n'
    )
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    made = cluster.run(
        "env", f"PATH={path}", str(Path(sys.executable).parent / "sampan"), "image", "--data-dir",
        str(cluster.directory), "debootstrap", "trixie", "http://mirror.test", "--include", "curl",
    )  # fmt: skip
    assert made.stdout.startswith("made debian:trixie (")
    assert made.stderr.startswith("--variant=minbase --include=curl trixie ")
    (site / "Containerfile").write_text(
        'FROM debian:trixie\nRUN ["/bin/busybox", "ls", "/etc", "/var/lib/apt/lists"]\n'
    )
    assert "machine-id" not in cluster.sampan("image", "build", str(site))
    (site / "Containerfile").write_text("FROM debian:none.such\n")
    refused = cluster.run("sampan", "image", "--data-dir", str(cluster.directory), "build", str(site), check=False)
    assert "without a registry: sampan image debootstrap none.such --tag debian:none.such" in refused.stderr
    for name in ("site:test", "debian:trixie"):
        cluster.sampan("image", "rm", name)


def test_a_folder(cluster: Cluster, ns: str, site: Path) -> None:
    """It answers where it is said; a change is rolled out; a dry run changes nothing; it goes again."""
    url = url_of(cluster.sampan("deploy", str(site), "-n", ns, "-e", "A=b"))
    until_page(cluster, url, "one\nbuilt\n")
    (site / "index.html").write_text("two\n")
    shown = list(yaml.safe_load_all(cluster.sampan("deploy", str(site), "-n", ns, "--dry-run")))
    assert [obj["kind"] for obj in shown] == ["Namespace", "Deployment", "Service"]
    until_page(cluster, url, "one\nbuilt\n")
    assert url_of(cluster.sampan("deploy", str(site), "-n", ns, "--replicas", "2")) == url
    until_page(cluster, url, "two\nbuilt\n")
    assert cluster.get("deployment", "site", "-n", ns)["spec"]["replicas"] == 2
    cluster.sampan("deploy", str(site), "-n", ns, "--remove")
    assert cluster.get("deployments,services", "-n", ns)["items"] == []


def test_what_does_not_come_up(cluster: Cluster, ns: str, site: Path) -> None:
    """Is said with its reason, and no longer waited for than it makes sense."""
    (site / "Containerfile").write_text("FROM busybox:1.36\nRUN exit 7\n")
    done = cluster.run("sampan", "deploy", str(site), "--data-dir", str(cluster.directory), "-n", ns, check=False)
    assert done.stderr.endswith("Containerfile:2: RUN failed: the command ended with exit code 7\n")
    assert done.stderr.count("\n") == 1
    start = 'HEALTHCHECK CMD false\nSTOPSIGNAL SIGKILL\nCMD ["sleep", "1000"]\n'
    (site / "Containerfile").write_text(f"FROM busybox:1.36\n{start}")
    where = ("--data-dir", str(cluster.directory), "-n", ns)
    done = cluster.run("sampan", "deploy", str(site), *where, "--timeout", "1", check=False)
    assert "sampan deploy: deployment site: " in done.stderr


def test_a_compose_file(cluster: Cluster, ns: str, site: Path) -> None:
    """Built, in order, with what is shared; a second time nothing is done again."""
    (site.parent / "compose.yaml").write_text("""
name: shop
services:
  web:
    build: site
    ports: ["8081:8000"]
    depends_on: {fill: {condition: service_completed_successfully}}
    command: [sh, -c, "cat /greeting /data/filled > index.html; exec httpd -f -p 8000"]
    volumes: ["data:/data"]
    configs: [greeting]
  fill:
    image: busybox:1.36
    command: [sh, -c, "wget -qO- http://db:9/ > /data/filled"]
    volumes: ["data:/data"]
    depends_on: {db: {condition: service_healthy}}
  db:
    image: busybox:1.36
    command: [sh, -c, "echo from db > index.html; exec httpd -f -p 9"]
    stop_grace_period: 1s
    working_dir: /tmp
    healthcheck: {test: "wget -qO- http://localhost:9/", interval: 1s}
volumes: {data: }
configs: {greeting: {content: "hello\\n"}}
""")
    url = url_of(cluster.sampan("deploy", str(site.parent), "-n", ns))
    assert url.endswith(":8081/")
    until_page(cluster, url, "hello\nfrom db\n")
    jobs = cluster.get("jobs", "-n", ns)["items"]
    assert url_of(cluster.sampan("deploy", str(site.parent / "compose.yaml"), "-n", ns)) == url
    assert [job["metadata"]["uid"] for job in cluster.get("jobs", "-n", ns)["items"]] == [
        job["metadata"]["uid"] for job in jobs
    ]
    file = site.parent / "compose.yaml"
    less = yaml.safe_load(file.read_text())
    del less["services"]["fill"], less["services"]["db"], less["services"]["web"]["depends_on"]
    file.write_text(yaml.safe_dump(less))
    assert " removed" not in cluster.sampan("deploy", str(site.parent), "-n", ns, "--no-prune")
    said = cluster.sampan("deploy", str(site.parent), "-n", ns)
    assert all(f"  {what} removed: nothing asks for it any more" in said for what in ("service db", "deployment db"))
    assert [each["metadata"]["name"] for each in cluster.get("deployments", "-n", ns)["items"]] == ["web"]
    assert cluster.get("jobs", "-n", ns)["items"] == []
    cluster.sampan("deploy", str(site.parent), "-n", ns, "--remove")
    assert (
        cluster.get("deployments,services,jobs,configmaps", "-n", ns, "-l", "app.kubernetes.io/instance=shop")["items"]
        == []
    )


def test_on_each_save(cluster: Cluster, ns: str, site: Path, tmp_path: Path) -> None:
    """A save is rolled out, one that can't be built is said, logs are shown, and Ctrl-C takes it away where that is asked."""
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["sampan", "dev", str(site), "--data-dir", str(cluster.directory), "-n", ns, "--rm"],
            stdout=file,
            stderr=file,
            env=cluster.environment,
        )
    try:

        def shown(text: str, count: int = 1) -> None:
            cluster.until(f"{text} is shown", lambda: output.read_text().count(text) >= count)

        shown("site is up")
        shown("site | begins")
        url = next(line for line in output.read_text().splitlines() if " is up (" in line).rpartition(" ")[2]
        (site / "index.html").write_text("two\n")
        shown("site is up", 2)
        until_page(cluster, url, "two\nbuilt\n")
        (site / "Containerfile").write_text(CONTAINERFILE.replace("RUN", "RUM"))
        shown("it is tried again after the next save")
        until_page(cluster, url, "two\nbuilt\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert cluster.get("deployments", "-n", ns)["items"] == []
    finally:
        process.kill()
        process.wait()
