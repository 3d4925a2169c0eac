"""Persistent volumes on the node: folders that are made, checked, given to a group and taken away."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from sampan.node.volumes import claimed
from sampan.node.volumes.aside import Errand
from sampan.node.volumes.failure import VolumeFailure

POD: dict[str, Any] = {"metadata": {"name": "web"}, "spec": {}}


def volume(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "v"}, "spec": spec}


def test_a_folder_of_ours_is_made_for_anybody(tmp_path: Path) -> None:
    """And what is in it stays when it is looked at again."""
    ours = tmp_path / "ours"
    found = claimed.prepare(volume(local={"path": str(ours / "v")}), ours, POD, Errand())
    assert (found, stat.S_IMODE(found.stat().st_mode)) == (ours / "v", 0o777)
    (found / "f").write_text("kept")
    claimed.prepare(volume(local={"path": str(ours / "v")}), ours, POD, Errand())
    assert (found / "f").read_text() == "kept"
    claimed.discard(ours, "v")
    claimed.discard(ours, "v")
    assert list(ours.iterdir()) == []


def test_a_path_of_the_host_is_taken_as_it_is(tmp_path: Path) -> None:
    """It must be there; its type is checked as that of a pod's own hostPath."""
    (tmp_path / "disk").mkdir()
    ours = tmp_path / "ours"
    path = str(tmp_path / "disk")
    assert claimed.prepare(volume(local={"path": path}), ours, POD, Errand()) == Path(path)
    assert claimed.prepare(volume(hostPath={"path": path, "type": "Directory"}), ours, POD, Errand()) == Path(path)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (
            {"local": {"path": "/nowhere/at/all"}},
            'MountVolume.NewMounter initialization failed for volume "v" : path "/nowhere/at/all" does not exist',
        ),
        ({"local": {"path": "/dev/null"}}, 'volume "v": /dev/null is not a directory'),
        ({"csi": {"driver": "d"}, "capacity": {}}, 'volume "v": volumes of type csi are not supported'),
        (
            {"hostPath": {"path": "/"}, "volumeMode": "Block"},
            'volume "v": volumes of type hostPath can not be block devices',
        ),
    ],
)
def test_what_can_not_be_had(tmp_path: Path, spec: dict[str, Any], why: str) -> None:
    """Each says why."""
    with pytest.raises(VolumeFailure) as caught:
        claimed.prepare(volume(**spec), tmp_path, POD, Errand())
    assert str(caught.value) == why


def test_the_pods_group_gets_all_of_it(tmp_path: Path) -> None:
    """Files, folders, and what comes into them; a link's target is left alone."""
    group = os.getgid()
    folder, other = tmp_path / "v", tmp_path / "other"
    (folder / "d").mkdir(parents=True)
    (folder / "d" / "f").write_text("")
    other.write_text("")
    for path, mode in ((folder, 0o755), (folder / "d", 0o700), (folder / "d" / "f", 0o600), (other, 0o600)):
        path.chmod(mode)
    (folder / "link").symlink_to(other)
    pod = {"metadata": {"name": "web"}, "spec": {"securityContext": {"fsGroup": group}}}
    claimed.prepare(volume(local={"path": str(folder)}), tmp_path, pod, Errand())
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "d", folder / "d" / "f", other)]
    assert modes == [0o2775, 0o2770, 0o660, 0o600]
    (folder / "d" / "f").chmod(0o600)
    pod["spec"]["securityContext"]["fsGroupChangePolicy"] = "OnRootMismatch"
    claimed.prepare(volume(local={"path": str(folder)}), tmp_path, pod, Errand())
    assert stat.S_IMODE((folder / "d" / "f").stat().st_mode) == 0o600
