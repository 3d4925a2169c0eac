"""Which runtimes RuntimeClasses may name: those that are installed, and those of a file."""

import json
from pathlib import Path
from typing import Any

import pytest

from sampan.node.runtime import variants
from sampan.node.runtime.protocol import Features, RuntimeFailure, Sandbox
from sampan.node.runtime.variants import Tools, Variant


def test_those_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file that exists counts, and goes before what is known by name."""
    monkeypatch.setattr("sampan.node.runtime.programs.find", lambda name: f"/bin/{name}" if name != "crun" else name)
    file = tmp_path / "runtimes.yaml"
    file.write_text("handlers:\n  kata: {path: /opt/kata}\n  runsc: {path: /opt/runsc, arguments: [--network=none]}\n")
    found = variants.find((str(tmp_path / "none"), str(file)))
    assert found == {
        "runc": Variant("/bin/runc"),
        "runsc": Variant("/opt/runsc", ("--network=none",)),
        "kata": Variant("/opt/kata"),
    }
    assert variants.find()["runsc"] == Variant("/bin/runsc", ("--network=host",))


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ([], "must have handlers"),
        ({"handlers": {}, "more": 1}, "must have handlers, and nothing else"),
        ({"handlers": {"A": {"path": "/x"}}}, "handlers.A: is no name of a handler"),
        ({"handlers": {"a": {}}}, "handlers.a.path: must be an absolute path"),
        ({"handlers": {"a": {"path": "x"}}}, "handlers.a.path: must be an absolute path"),
        ({"handlers": {"a": {"path": "/x", "args": []}}}, "handlers.a: must have path and may have arguments"),
        ({"handlers": {"a": {"path": "/x", "arguments": "b"}}}, "handlers.a.arguments: must be a list of texts"),
    ],
)
def test_a_file_that_cannot_be_meant_so(tree: Any, text: str, tmp_path: Path) -> None:
    """It is refused, by its place."""
    file = tmp_path / "runtimes.yaml"
    file.write_text(json.dumps(tree))
    with pytest.raises(ValueError, match=text) as refused:
        variants.find((str(file),))
    assert str(refused.value).startswith(f"{file}: ")


def test_each_has_a_state_of_its_own(tmp_path: Path) -> None:
    """Runtimes can't read each other's; what isn't there is refused in containerd's words."""
    tools = Tools(Variant("/bin/runc"), "/bin/conmon", str(tmp_path / "state"), "/exits")
    file = tmp_path / "runtimes.yaml"
    file.write_text(json.dumps({"handlers": {"deep": {"path": "/bin/runsc", "arguments": ["--x"]}}}))
    tools.find((str(file),))
    assert tools.of("").runc_command("list") == ["/bin/runc", "--root", str(tmp_path / "state"), *JSON, "list"]
    root = str(tmp_path / "state-deep")
    assert tools.of("deep").runc_command("list") == ["/bin/runsc", "--x", "--root", root, *JSON, "list"]
    with pytest.raises(RuntimeFailure, match='no runtime for "odd" is configured'):
        tools.of("odd")
    tools.features[""] = Features(user_namespaces=True)
    tools.check(Sandbox("uid", "", own_users=True))
    with pytest.raises(RuntimeFailure, match='runtime handler "deep" does not support user namespaces'):
        tools.check(Sandbox("uid", "deep", own_users=True))


JSON = ["--log-format", "json"]
