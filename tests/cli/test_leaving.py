"""A node leaves: the admin's kubeconfig by which it is deleted is looked at before anything is stopped."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from sampan.cli import node
from sampan.cli.main import CommandError
from sampan.cluster import host
from sampan.cluster.settings import Settings


def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: dict[str, str]) -> list[str]:
    """What `sampan node leave --kubeconfig admin` did; `seen` has the node's uid by kubeconfig."""
    cluster = Settings("node-n", tmp_path, joined_to="https://192.0.2.7:6443", joined_as="n")
    done: list[str] = []

    def ask(kubeconfig: Path, question: Any) -> Any:
        if kubeconfig.name not in seen:
            raise CommandError("the API refuses: not found")
        return {"metadata": {"uid": seen[kubeconfig.name]}}

    monkeypatch.setattr(node, "_joined", lambda arguments: cluster)
    monkeypatch.setattr(node, "_access", lambda kubeconfig: None)
    monkeypatch.setattr(node, "_ask", ask)
    monkeypatch.setattr(node, "_delete", lambda admin, name, uid: done.append(f"delete {name} {uid}"))
    monkeypatch.setattr(host, "stop", lambda cluster, report: done.append("stop"))
    monkeypatch.setattr(host, "purge", lambda cluster: done.append("purge"))
    try:
        node.run(argparse.Namespace(verb="leave", kubeconfig=tmp_path / "admin", drain=False))
    except CommandError as error:
        done.append(str(error))
    return done


def test_leaving_with_an_admins_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at before anything is stopped: it must lead to the same node, which alone is deleted."""
    assert left(tmp_path, monkeypatch, {"admin": "u", "kubeconfig": "u"}) == ["stop", "delete n u", "purge"]
    (why,) = left(tmp_path, monkeypatch, {"admin": "other", "kubeconfig": "u"})
    assert "is another cluster's, not this machine; without --kubeconfig it leaves" in why
    for seen in ({"kubeconfig": "u"}, {"admin": "u"}):
        (why,) = left(tmp_path, monkeypatch, seen)
        assert "can't be looked up: the API refuses: not found; without --kubeconfig it leaves" in why


@pytest.mark.parametrize("content", [None, "", "[1]", "a: {", "kind: Config", "current-context: x\ncontexts: 7"])
def test_files_that_are_no_kubeconfig(tmp_path: Path, content: str | None) -> None:
    """One line that names the file."""
    file = tmp_path / "admin"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CommandError, match=f"^{file} can't be used: [^\n]+$"):
        node._uid(Settings("node-n", tmp_path, joined_to="https://192.0.2.7:6443", joined_as="n"), file)
