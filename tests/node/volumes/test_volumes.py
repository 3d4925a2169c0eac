"""Volumes of a pod on disk: files and their modes, updates in one step, and everything gone afterwards."""

import base64
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sampan.node.volumes import mounts, sources, subpath, writer
from sampan.node.volumes.failure import VolumeFailure
from sampan.node.volumes.payload import File
from sampan.node.volumes.sources import Source, Sources
from sampan.node.volumes.volumes import Volumes

needs_root = pytest.mark.root


class StoppedClock:
    """Always the same moment: stamps must differ all the same."""

    def now(self) -> float:
        return 1767225600.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """At once."""


def pod(*volumes: dict[str, Any], **spec: Any) -> dict[str, Any]:
    meta = {"name": "web", "namespace": "default", "uid": "u-1", "labels": {"b": "2", "a": '"1"'}}
    containers = [{"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}}]
    return {"metadata": meta, "spec": {"volumes": list(volumes), "containers": containers, **spec}}


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
async def volumes(tmp_path: Path) -> AsyncIterator[Volumes]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    volumes = Volumes(tmp_path / "pods", tmp_path / "local", StoppedClock())
    yield volumes
    await volumes.teardown("u-1")
    assert mounts.mounted_below(tmp_path) == []
    assert volumes.pods() == set()


@needs_root
async def test_config_map_files_are_replaced_in_one_step(volumes: Volumes) -> None:
    """Old or new, never a mixture; a key that went is gone."""
    web = pod({"name": "conf", "configMap": {"name": "conf", "defaultMode": 0o440}})
    first = Sources(config_maps={"conf": {"data": {"a": "1", "b": "1"}, "binaryData": {"c": b64("\0")}}})
    folder = Path((await volumes.prepare(web, first))["conf"])
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == {"a": b"1", "b": b"1", "c": b"\0"}
    assert stat.S_IMODE((folder / "a").stat().st_mode) == 0o440
    generation = os.readlink(folder / "..data")
    await volumes.prepare(web, first)
    assert os.readlink(folder / "..data") == generation
    await volumes.prepare(web, Sources(config_maps={"conf": {"data": {"a": "2"}}}))
    assert sorted(p.name for p in folder.iterdir() if not p.name.startswith("..")) == ["a"]
    assert (folder / "a").read_text() == "2"
    assert len([p for p in folder.iterdir() if p.name.startswith("..2")]) == 1


@needs_root
async def test_secrets_and_tokens_are_in_memory(volumes: Volumes) -> None:
    """On tmpfs, with items, modes and the pod's group."""
    web = pod(
        {"name": "s", "secret": {"secretName": "s", "items": [{"key": "k", "path": "d/k", "mode": 0o400}]}},
        {
            "name": "kube-api-access",
            "projected": {
                "sources": [
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {
                        "downwardAPI": {
                            "items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]
                        }
                    },
                ]
            },
        },
        securityContext={"fsGroup": 2000},
    )
    given = Sources(
        config_maps={"kube-root-ca.crt": {"data": {"ca.crt": "CA"}}},
        secrets={"s": {"data": {"k": b64("secret")}}},
        tokens={("", 3607): "TOKEN"},
    )
    paths = await volumes.prepare(web, given)
    key = Path(paths["s"]) / "d" / "k"
    assert key.read_text() == "secret"
    assert (key.stat().st_gid, stat.S_IMODE(key.stat().st_mode)) == (2000, 0o440)
    access = Path(paths["kube-api-access"])
    assert {p.name: p.read_text() for p in access.iterdir() if p.is_file()} == {
        "token": "TOKEN",
        "ca.crt": "CA",
        "namespace": "default",
    }
    assert mounts.is_mounted(access)
    assert mounts.is_mounted(Path(paths["s"]))


@needs_root
async def test_an_empty_dir_outlives_its_containers(volumes: Volumes) -> None:
    """World-writable, made once; in memory with its limit if asked."""
    web = pod({"name": "disk", "emptyDir": {}}, {"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
    paths = await volumes.prepare(web, Sources())
    (Path(paths["disk"]) / "kept").write_text("x")
    assert await volumes.prepare(web, Sources()) == paths
    assert (Path(paths["disk"]) / "kept").exists()
    assert stat.S_IMODE(Path(paths["disk"]).stat().st_mode) == 0o777
    assert stat.S_IMODE(Path(paths["mem"]).stat().st_mode) == 0o777
    with pytest.raises(OSError, match="No space"):
        (Path(paths["mem"]) / "big").write_bytes(bytes(2 << 20))


@needs_root
@pytest.mark.parametrize(
    ("volume", "text"),
    [
        ({"configMap": {"name": "x"}}, 'MountVolume.SetUp failed for volume "v" : configmap "x" not found'),
        ({"secret": {"secretName": "x"}}, 'MountVolume.SetUp failed for volume "v" : secret "x" not found'),
        ({"iscsi": {"targetPortal": "s"}}, "volumes of type iscsi are not supported"),
        ({"hostPath": {"path": "/etc/hosts", "type": "Directory"}}, "type check failed: /etc/hosts is not a directory"),
        ({"configMap": {"name": "up"}}, "must not be absolute"),
        ({"configMap": {"name": "k", "items": [{"key": "no", "path": "a"}]}}, "references non-existent config key: no"),
    ],
)
async def test_what_cannot_be_had_is_named(volumes: Volumes, volume: dict[str, Any], text: str) -> None:
    """In the words the event will have."""
    given = Sources(config_maps={"up": {"data": {"../x": ""}}, "k": {"data": {}}})
    with pytest.raises(VolumeFailure) as failure:
        await volumes.prepare(pod({"name": "v", **volume}), given)
    assert text in str(failure.value)


@needs_root
async def test_a_subpath_never_leaves_its_volume(volumes: Volumes, tmp_path: Path) -> None:
    """Links out of the volume are refused, links inside are followed, missing directories made."""
    outside = tmp_path / "outside"
    outside.mkdir()
    path = Path((await volumes.prepare(pod({"name": "e", "emptyDir": {}}), Sources()))["e"])
    (path / "in").mkdir()
    (path / "in" / "file").write_text("here")
    (path / "inner").symlink_to("in")
    (path / "out").symlink_to(outside)
    (path / "root").symlink_to("/")
    shown = await volumes.mount_subpath("u-1", str(path), "inner/file", slot="c-0")
    assert Path(shown).read_text() == "here"
    made = await volumes.mount_subpath("u-1", str(path), "new/deep", slot="c-1")
    (Path(made) / "x").touch()
    assert (path / "new" / "deep" / "x").exists()
    for bad in ("out", "out/x", "root/etc", "../x", "/etc", "in/../../x"):
        with pytest.raises(VolumeFailure):
            await volumes.mount_subpath("u-1", str(path), bad, slot="c-2")
    assert list(outside.iterdir()) == []


@needs_root
async def test_teardown_follows_no_link(volumes: Volumes, tmp_path: Path) -> None:
    """A volume replaced by a link to the host harms nothing there."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    web = pod({"name": "conf", "configMap": {"name": "conf"}})
    folder = Path((await volumes.prepare(web, Sources(config_maps={"conf": {"data": {"a": "1"}}})))["conf"])
    folder.rename(folder.parent / "moved")
    folder.symlink_to(precious)
    with pytest.raises(VolumeFailure):
        await volumes.prepare(web, Sources(config_maps={"conf": {"data": {"a": "2"}}}))
    await volumes.teardown("u-1")
    assert (precious / "file").exists()
    assert subpath is not None


def test_writer_keeps_the_folders_of_paths(tmp_path: Path) -> None:
    """Nested paths work; a crash's left-over link is no obstacle."""
    (tmp_path / "..data_tmp").symlink_to("nowhere")
    assert writer.write(tmp_path, {"a/b/c": File(b"1"), "a/d": File(b"2")}, "s1")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"1"
    assert not writer.write(tmp_path, {"a/b/c": File(b"1"), "a/d": File(b"2")}, "s2")
    assert writer.write(tmp_path, {}, "s3")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["..data", "..s3"]


def test_needed_names_each_source_once() -> None:
    """Needed wins over optional; environment counts too."""
    web = pod(
        {"name": "a", "configMap": {"name": "m", "optional": True}},
        {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "x"}}]}},
    )
    web["spec"]["containers"] = [
        {
            "name": "c",
            "env": [{"name": "E", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}],
            "envFrom": [{"secretRef": {"name": "s", "optional": True}}],
        }
    ]
    assert sources.needed(web) == [
        Source("ConfigMap", "m"),
        Source("Secret", "s", optional=True),
        Source("Token", audience="x", expiration_seconds=3600),
    ]
