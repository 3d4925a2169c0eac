"""An agent begins when all that it reads is there."""

from pathlib import Path

import pytest
import yaml

from sampan.cluster import agent_process
from sampan.cluster.settings import Settings


@pytest.mark.parametrize("late", ["ca", "certificate", "key", "serving_certificate", "serving_key", "client_ca"])
def test_it_waits_for_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also for those of its own port, which are made after those of its way to the API."""
    monkeypatch.setattr(agent_process, "WAIT_SECONDS", 0)
    config = {name: str(tmp_path / name) for name in agent_process._FILES}
    for name in set(config) - {late}:
        (tmp_path / name).touch()
    assert not agent_process._has_keys(config)
    assert f"did not appear: {config[late]}\n" in capsys.readouterr().err
    (tmp_path / late).touch()
    assert agent_process._has_keys(config)


def test_it_begins_when_the_last_one_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks again after a pause, whatever the clock does meanwhile."""
    config = {name: str(tmp_path / name) for name in agent_process._FILES}
    missing = sorted(config)

    def appears(seconds: float) -> None:
        (tmp_path / missing.pop()).touch()

    monkeypatch.setattr("sampan.kit.wall.pause", appears)
    assert agent_process._has_keys(config)
    assert not missing


def test_commands_know_the_servers_that_the_agent_knows(tmp_path: Path) -> None:
    """On a machine that joined, also those that came later; a cluster's own kubeconfig stays as it is."""
    joined = Settings("node-n", tmp_path, joined_to="https://192.0.2.7:6443", joined_as="n")
    joined.save()
    agent_process._note_servers(tmp_path, ["https://192.0.2.7:6443", "https://192.0.2.8:6443"])
    written = yaml.safe_load(joined.path("kubeconfig").read_text())
    assert [each["cluster"]["server"] for each in written["clusters"]] == [joined.joined_to, "https://192.0.2.8:6443"]
    Settings("tide", tmp_path).save()
    agent_process._note_servers(tmp_path, ["https://192.0.2.9:6443"])
    assert yaml.safe_load(joined.path("kubeconfig").read_text()) == written
    (tmp_path / "cluster.json").write_text("{")
    with pytest.raises(OSError, match="is damaged"):
        agent_process._note_servers(tmp_path, ["https://192.0.2.9:6443"])


def test_an_agent_is_told_whom_to_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a machine that joined."""
    told = []
    monkeypatch.setattr("sampan.node.process.main", lambda arguments, on_servers=None: told.append(on_servers) or 0)
    monkeypatch.setattr(agent_process, "_has_keys", lambda config: True)
    for address in ("10.244.0.1", ""):
        (tmp_path / "node.json").write_text(f'{{"api_address": "{address}"}}')
        assert agent_process._run(str(tmp_path / "node.json")) == 0
    assert told[0] is None
    assert told[1] is not None
