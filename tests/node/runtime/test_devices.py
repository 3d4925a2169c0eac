"""Devices in a container's configuration: the host's, and such as the Container Device Interface describes."""

import json
import os
import stat

import pytest

from sampan.node.images.model import Image
from sampan.node.runtime import cdi, devices
from sampan.node.runtime.protocol import ContainerConfig, Device

NULL = os.stat("/dev/null")
NODE = {
    "path": "/dev/d",
    "type": "c",
    "major": 1,
    "minor": 3,
    "fileMode": stat.S_IMODE(NULL.st_mode),
    "uid": NULL.st_uid,
    "gid": NULL.st_gid,
}


def tree():
    return {
        "process": {"env": ["PATH=/bin", "A=image"], "user": {"uid": 5, "gid": 5, "additionalGids": [5]}},
        "mounts": [{"destination": "/m", "source": "/old", "type": "bind", "options": []}],
        "linux": {"resources": {"devices": [{"allow": False, "access": "rwm"}]}},
        "annotations": {"own": "1"},
    }


def config(**fields):
    return ContainerConfig("uid", "default", "pod", "main", Image("sha256:1", ("a",)), **fields)


def test_a_device_of_the_host():
    """Is made in the container, and let through by its cgroup; annotations are the runtime's."""
    made = tree()
    devices.add(made, config(devices=(Device("/dev/null", "/dev/d", "r"),), annotations=(("note", "n"),)))
    assert made["linux"]["devices"] == [NODE]
    rules = made["linux"]["resources"]["devices"]
    assert rules == [
        {"allow": False, "access": "rwm"},
        {"allow": True, "access": "r", "type": "c", "major": 1, "minor": 3},
    ]
    assert made["annotations"] == {"own": "1", "note": "n"}


def test_what_is_no_device(tmp_path):
    """Is refused; of a directory all devices are taken, of which there may be none."""
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="not a device node"):
        devices.add(tree(), config(devices=(Device(str(tmp_path / "file"), "/dev/d"),)))
    made = tree()
    devices.add(made, config(devices=(Device(str(tmp_path), "/dev/d"),)))
    assert "devices" not in made["linux"]


def test_what_cdi_says(monkeypatch, tmp_path):
    """A device's edits, after those for all devices of its file; what the file leaves out is the host's device's."""
    described = {
        "cdiVersion": "0.6.0",
        "kind": "example.com/gpu",
        "containerEdits": {"env": ["COMMON=1"]},
        "devices": [
            {
                "name": "0",
                "containerEdits": {
                    "env": ["A=0"],
                    "deviceNodes": [
                        {"path": "/dev/d", "hostPath": "/dev/null", "permissions": "rw", "fileMode": 0o600}
                    ],
                    "mounts": [{"hostPath": "/new", "containerPath": "/m"}],
                    "hooks": [{"hookName": "createRuntime", "path": "/hook", "args": ["hook", "0"]}],
                    "additionalGids": [0, 44],
                },
            },
            {"name": "1", "containerEdits": {"deviceNodes": [{"path": "/dev/z", "type": "b", "major": 7, "minor": 9}]}},
        ],
    }
    (tmp_path / "gpu.json").write_text(json.dumps(described))
    monkeypatch.setattr(cdi, "FOLDERS", (tmp_path,))
    made = tree()
    devices.add(made, config(cdi_devices=("example.com/gpu=1", "example.com/gpu=0")))
    assert made["process"]["env"] == ["PATH=/bin", "COMMON=1", "A=0"]
    assert made["linux"]["devices"] == [
        {"path": "/dev/z", "type": "b", "major": 7, "minor": 9},
        {**NODE, "fileMode": 0o600},
    ]
    assert [rule["access"] for rule in made["linux"]["resources"]["devices"]] == ["rwm", "rwm", "rw"]
    mount = {"destination": "/m", "source": "/new", "type": "bind", "options": ["ro", "nosuid", "nodev", "bind"]}
    assert made["mounts"] == [mount]
    assert made["hooks"] == {"createRuntime": [{"path": "/hook", "args": ["hook", "0"]}]}
    assert made["process"]["user"]["additionalGids"] == [5, 44]


def test_where_cdi_says_it(tmp_path):
    """The later directory has more weight; two files of one directory cancel each other out; the rest is no such file."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    text = "kind: example.com/d\ndevices:\n- {{name: a, containerEdits: {{env: [FROM={0}]}}}}\n- {{name: {0}}}\n"
    (first / "d.yaml").write_text(text.format("first"))
    (second / "d.yml").write_text(text.format("second"))
    (second / "broken.json").write_text("{")
    (second / "broken.yaml").write_text("a: [")
    (second / "list.json").write_text("[]")
    (second / "note.txt").write_text("kind")
    names = ["example.com/d=a", "example.com/d=first"]
    assert cdi.edits(names, (first, second, tmp_path / "none")) == [{"env": ["FROM=second"]}, {}]
    (second / "twin.yaml").write_text(text.format("twin"))
    with pytest.raises(cdi.Unresolvable) as error:
        cdi.edits([*names, "example.com/d=b"], (first, second))
    missing = "example.com/d=a, example.com/d=b"
    assert str(error.value) == f"CDI device injection failed: unresolvable CDI devices {missing}"
