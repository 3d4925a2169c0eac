"""The user's kubeconfig: a context put in and taken out, and all else left as it was."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sampan.cluster import kubeconfig
from sampan.cluster.kubeconfig import KubeconfigError


def addition(name: str, server: str = "https://127.0.0.1:6443") -> dict[str, Any]:
    return {
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": {"token": "t"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of the user's with a context of another cluster."""
    made = tmp_path / "config"
    content = {"apiVersion": "v1", "kind": "Config", "preferences": {"colors": True}, **addition("work")}
    made.write_text(yaml.safe_dump(content))
    return made


def contexts(path: Path) -> tuple[str, list[str]]:
    config = yaml.safe_load(path.read_text())
    return config["current-context"], [entry["name"] for entry in config["contexts"]]


def test_in_and_out_again(path: Path) -> None:
    """The earlier context comes back, and so does every byte of meaning."""
    before = yaml.safe_load(path.read_text())
    assert kubeconfig.merge(path, addition("sampan"), switch=True) == "work"
    assert contexts(path) == ("sampan", ["work", "sampan"])
    assert path.stat().st_mode & 0o777 == 0o600
    kubeconfig.remove(path, "sampan", "work")
    assert yaml.safe_load(path.read_text()) == before
    assert [p.name for p in path.parent.iterdir()] == ["config"]


def test_twice_is_once(path: Path) -> None:
    """The later server counts; the earlier context is still known to the caller."""
    kubeconfig.merge(path, addition("sampan"), switch=True)
    assert kubeconfig.merge(path, addition("sampan", "https://127.0.0.1:7000"), switch=True) == "sampan"
    config = yaml.safe_load(path.read_text())
    assert [c["cluster"]["server"] for c in config["clusters"] if c["name"] == "sampan"] == ["https://127.0.0.1:7000"]


def test_no_switch(path: Path) -> None:
    """The current context stays, unless there is none."""
    kubeconfig.merge(path, addition("sampan"), switch=False)
    assert contexts(path)[0] == "work"
    fresh = path.with_name("fresh")
    kubeconfig.merge(fresh, addition("sampan"), switch=False)
    assert contexts(fresh)[0] == "sampan"


def test_a_context_that_the_user_chose_since_stays(path: Path) -> None:
    """Also one that is gone is not brought back."""
    kubeconfig.merge(path, addition("sampan"), switch=True)
    kubeconfig.merge(path, addition("other"), switch=True)
    kubeconfig.remove(path, "sampan", "work")
    assert contexts(path) == ("other", ["work", "other"])
    kubeconfig.remove(path, "other", "gone")
    assert contexts(path)[0] == ""


def test_a_file_made_by_us_goes(tmp_path: Path) -> None:
    """And one that is not there is no error."""
    made = tmp_path / "deep" / "config"
    kubeconfig.merge(made, addition("sampan"), switch=True)
    kubeconfig.remove(made, "sampan", "")
    assert not made.exists()
    kubeconfig.remove(made, "sampan", "")


@pytest.mark.parametrize("text", ["a: [", "- a", "text", "\tx: 1", "\x00", "[" * 3000])
def test_a_broken_file_is_left_alone(tmp_path: Path, text: str) -> None:
    """Its path is told."""
    broken = tmp_path / "config"
    broken.write_text(text)
    with pytest.raises(KubeconfigError, match=str(broken)):
        kubeconfig.merge(broken, addition("sampan"), switch=True)
    assert broken.read_text() == text


@pytest.mark.parametrize("text", ["contexts: 5", "users: {a: b}", "clusters: [text]"])
def test_a_section_that_is_no_list_is_told(tmp_path: Path, text: str) -> None:
    """As any other damage."""
    broken = tmp_path / "config"
    broken.write_text(text)
    with pytest.raises(KubeconfigError, match=str(broken)):
        kubeconfig.merge(broken, addition("sampan"), switch=True)


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    """What it points to is changed, where it is."""
    link = tmp_path / "link"
    link.symlink_to(path)
    kubeconfig.merge(link, addition("sampan"), switch=True)
    assert link.is_symlink()
    assert contexts(path)[0] == "sampan"


def certified(certificate: str) -> dict[str, Any]:
    made = addition("sampan")
    made["users"][0]["user"] = {"client-certificate-data": certificate}
    return made


def test_a_renewal_changes_no_rights(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file stays its owner's and its group's; others never read it."""
    changed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda descriptor, uid, gid: changed.append((uid, gid)))
    kubeconfig.merge(path, certified("old"), switch=True)
    for mode, then in ((0o600, 0o600), (0o640, 0o640), (0o664, 0o660)):
        path.chmod(mode)
        assert kubeconfig.renew(path, certified(f"new {mode}"))
        assert path.stat().st_mode & 0o777 == then
    assert changed == [(path.stat().st_uid, path.stat().st_gid)] * 4


def test_another_users_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not give it back to its owner keeps it to himself."""
    kubeconfig.merge(path, certified("old"), switch=True)
    path.chmod(0o640)

    def refuse(*given: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refuse)
    assert kubeconfig.renew(path, certified("new"))
    assert path.stat().st_mode & 0o777 == 0o600


def test_empty_sections(tmp_path: Path) -> None:
    """As kubectl writes them: null."""
    made = tmp_path / "config"
    made.write_text("apiVersion: v1\nclusters: null\ncontexts: null\nusers: null\ncurrent-context: ''\n")
    assert kubeconfig.merge(made, addition("sampan"), switch=True) == ""
    assert contexts(made) == ("sampan", ["sampan"])


def test_the_default_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """$KUBECONFIG's first entry, else ~/.kube/config."""
    monkeypatch.setenv("KUBECONFIG", "/a/first:/a/second")
    assert kubeconfig.default_path() == Path("/a/first")
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kubeconfig.default_path() == tmp_path / ".kube" / "config"


def test_a_chosen_namespace_stays(path: Path) -> None:
    """A second merge keeps the namespace that the user set in the context."""
    kubeconfig.merge(path, addition("sampan"), switch=True)
    config = kubeconfig.read(path)
    config["contexts"][-1]["context"]["namespace"] = "mine"
    kubeconfig.write(path, config)
    kubeconfig.merge(path, addition("sampan"), switch=True)
    assert kubeconfig.read(path)["contexts"][-1] == {
        "name": "sampan",
        "context": {"cluster": "sampan", "user": "sampan", "namespace": "mine"},
    }


def test_a_new_file_is_written_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes long to load, and says the same."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "yaml", None)
        assert kubeconfig.merge(tmp_path / "config", addition("1e3"), switch=True) == ""
        kubeconfig.write(tmp_path / "own", addition("on"), is_ours=True)
    assert yaml.safe_load((tmp_path / "own").read_text()) == addition("on")
    whole = {"apiVersion": "v1", "kind": "Config", "preferences": {}, **addition("1e3")}
    assert yaml.safe_load((tmp_path / "config").read_text()) == whole
    assert kubeconfig.merge(tmp_path / "config", addition("other"), switch=False) == "1e3"
    odd = {"kind": '\U0001f680 \x7f \x85 \u2028 \n \t " \\ \xe4 \x00 \ufeff'}
    kubeconfig.write(tmp_path / "odd", odd, is_ours=True)
    assert yaml.safe_load((tmp_path / "odd").read_text()) == odd
