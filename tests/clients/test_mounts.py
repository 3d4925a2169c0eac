"""Mounts of real containers: what propagates where, paths of the host by their types, exports that fail."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.clients import pods
from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import Tree, container, create, mount, pod

pytestmark = [needs_root, pytest.mark.root]


def host(name: str, path: Path | str, type: str = "") -> Tree:
    return {"name": name, "hostPath": {"path": str(path), **({"type": type} if type else {})}}


def messages(cluster: Cluster, name: str) -> str:
    field = f"involvedObject.name={name}"
    return cluster.kubectl("get", "events", f"--field-selector={field}", "-o", "jsonpath={.items[*].message}")


def test_propagation(cluster: Cluster, ns: str, tmp_path: Path) -> None:
    """Of the host's later mounts to those that wish it; back to the host from those that may; to others not at all."""
    shared = tmp_path / "shared"
    shared.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", shared], check=True)
    subprocess.run(["mount", "--make-rshared", shared], check=True)
    try:
        for name in ("host", "pod"):
            (shared / name).mkdir()
        privileged = {"privileged": True}
        wait = "while [ ! -e /m/go ]; do sleep 0.05; done; "
        both = "mount -t tmpfs tmpfs /m/pod; touch /m/pod/inside; touch /m/done; ls /m/host; umount /m/pod"
        to = "while [ ! -e /m/done ]; do sleep 0.05; done; ls /m/host /m/pod | tr '\\n' ' '"
        waits = "while [ ! -e /m/over ]; do sleep 0.05; done; "
        create(
            cluster,
            pod(
                "both",
                container(
                    wait + both.replace("umount", waits + "umount"),
                    volumeMounts=[mount("m", "/m", mountPropagation="Bidirectional")],
                    securityContext=privileged,
                ),
                volumes=[host("m", shared)],
            ),
            pod(
                "to",
                container(wait + to, volumeMounts=[mount("m", "/m", mountPropagation="HostToContainer")]),
                volumes=[host("m", shared)],
            ),
            pod("none", container(wait + to, volumeMounts=[mount("m", "/m")]), volumes=[host("m", shared)]),
        )
        pods.wait(cluster, pods.RUNNING, "both", "to", "none")
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", shared / "host"], check=True)
        (shared / "host/outside").touch()
        (shared / "go").touch()
        pods.wait(cluster, pods.SUCCEEDED, "to", "none")
        assert (shared / "pod/inside").exists()
        (shared / "over").touch()
        pods.wait(cluster, pods.SUCCEEDED, "both")
        assert cluster.kubectl("logs", "both").split() == ["outside"]
        assert cluster.kubectl("logs", "to").split() == ["/m/host:", "outside", "/m/pod:", "inside"]
        assert cluster.kubectl("logs", "none").split() == ["/m/host:", "/m/pod:"]
        assert not (shared / "pod").is_mount()
        subprocess.run(["mount", "--make-private", shared], check=True)
        create(
            cluster,
            pod(
                "refused",
                container(
                    "true",
                    volumeMounts=[mount("m", "/m", mountPropagation="Bidirectional")],
                    securityContext=privileged,
                ),
                volumes=[host("m", shared)],
            ),
            pod(
                "own",
                container(
                    "mount -t tmpfs tmpfs /m && touch /m/f",
                    volumeMounts=[mount("m", "/m", mountPropagation="Bidirectional")],
                    securityContext=privileged,
                ),
                volumes=[{"name": "m", "emptyDir": {}}],
            ),
        )
        text = f'path "{shared}" is mounted on "{shared}" but it is not a shared mount'
        cluster.until("a refusal", lambda: text in messages(cluster, "refused"))
        pods.wait(cluster, pods.SUCCEEDED, "own")
        cluster.kubectl("delete", "pod", "refused", "--force")
    finally:
        subprocess.run(["umount", "-R", shared], check=True)


def test_host_paths_by_their_types(cluster: Cluster, ns: str, tmp_path: Path) -> None:
    """What is there is checked, what may be made is made, and what is something else is refused by name."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    listening = socket.socket(socket.AF_UNIX)
    os.chdir(tmp_path)  # a socket's path must be short
    listening.bind("socket")
    os.mknod(tmp_path / "disk", 0o60600, os.makedev(7, 250))
    good = [
        ("a", "folder", "Directory"), ("b", "new", "DirectoryOrCreate"), ("c", "file", "File"), ("d", "made", "FileOrCreate"),
        ("e", "socket", "Socket"), ("f", "disk", "BlockDevice"), ("g", "any", ""),
    ]  # fmt: skip
    volumes = [host(name, tmp_path / path, type) for name, path, type in good] + [host("h", "/dev/null", "CharDevice")]
    shown = container("stat -c %F /v/*", volumeMounts=[mount(v["name"], f"/v/{v['name']}") for v in volumes])
    bad = [
        host("v", tmp_path / "folder", "File"),
        host("v", tmp_path / "file", "Directory"),
        host("v", "/none", "Socket"),
    ]
    used = container("true", volumeMounts=[mount("v", "/v")])
    create(
        cluster, pod("good", shown, volumes=volumes), *(pod(f"bad-{n}", used, volumes=[v]) for n, v in enumerate(bad))
    )
    pods.wait(cluster, pods.SUCCEEDED, "good")
    folder, file = "directory", "regular file"
    empty = "regular empty file"
    said = cluster.kubectl("logs", "good").splitlines()
    assert said == [folder, folder, file, empty, "socket", "block special file", folder, "character special file"]
    whats = (f"{tmp_path}/folder is not a file", f"{tmp_path}/file is not a directory", "/none is not a socket file")
    for number, what in enumerate(whats):
        text = f"hostPath type check failed: {what}"
        cluster.until(text, lambda n=number, t=text: t in messages(cluster, f"bad-{n}"))
    cluster.kubectl("delete", "pod", "--all", "--force")
    listening.close()


def test_an_export_that_can_not_be_had(cluster: Cluster, ns: str) -> None:
    """The mount program's own words are the event's, with the command that was run."""
    volumes = [{"name": "v", "nfs": {"server": "127.0.0.1", "path": "/export", "readOnly": True}}]
    create(cluster, pod("user", container("true", volumeMounts=[mount("v", "/v")]), volumes=volumes))
    text = 'MountVolume.SetUp failed for volume "v" : mount failed: exit status 32\nMounting command: mount\n'
    cluster.until("the event", lambda: text in messages(cluster, "user"))
    assert "Mounting arguments: -t nfs -o ro 127.0.0.1:/export /" in messages(cluster, "user")
    cluster.kubectl("delete", "pod", "user", "--force")
