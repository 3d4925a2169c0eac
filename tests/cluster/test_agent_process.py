"""An agent begins when all that it reads is there."""

from pathlib import Path

import pytest

from sampan.cluster import agent_process


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
