"""Records of pulls that several agents of a machine keep in one folder."""

import threading
from pathlib import Path
from typing import Any

import pytest

from sampan.kit import files
from sampan.kit.clock import SystemClock
from sampan.node.pull_credentials import PullCredentials
from sampan.node.pull_records import OPEN, PullRecords

Object = dict[str, Any]


def secret(name: str) -> Object:
    return {"kubernetesSecrets": [{"namespace": "d", "name": name, "uid": name, "credentialHash": name}]}


def test_agents_that_pull_one_image_at_once(tmp_path: Path) -> None:
    """Each agent's intent is written, and every secret with which it was had is in the record."""
    failed: list[OSError] = []
    agents = [f"n{number}" for number in range(4)]
    begin = threading.Barrier(len(agents))

    def pull(agent: str) -> None:
        records = PullRecords(tmp_path, SystemClock())
        begin.wait()
        try:
            for count in range(8):
                records.begin("app:1")
                records.add("sha256:1", "app", secret(f"{agent}-{count}"))
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=pull, args=(agent,)) for agent in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    kept = PullRecords(tmp_path, SystemClock()).find("sha256:1")
    assert kept is not None
    found = {each["name"] for each in kept["app"]["kubernetesSecrets"]}
    assert found == {f"{agent}-{count}" for agent in agents for count in range(8)}


def test_what_another_agent_writes_just_now_stays(tmp_path: Path) -> None:
    """The first look after a start takes it neither for a record nor for a pull."""
    for folder in ("image_pulled", "image_pulling"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / ".sha256-1-2.new").touch()
    PullRecords(tmp_path, SystemClock()).settle(lambda name: None, list)
    assert len(list(tmp_path.glob("*/.*.new"))) == 2


async def test_the_agent_goes_on_while_the_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written of a pull is written by another thread than the one that everything runs in."""
    writers = []
    write = files.write_whole

    def noted(*args: Any) -> None:
        writers.append(threading.current_thread())
        write(*args)

    monkeypatch.setattr(files, "write_whole", noted)
    credentials = PullCredentials(PullRecords(tmp_path, SystemClock()))
    await credentials.begin("app:1")
    await credentials.pulled("app:1", "sha256:1", None, ())
    assert len(writers) == 2
    assert threading.current_thread() not in writers
    assert credentials.records is not None
    assert credentials.records.find("sha256:1") == {"docker.io/library/app": OPEN}
    assert not credentials.records.is_pulling("docker.io/library/app:1")
