"""A cluster's settings: kept, found again, and what follows from them."""

import threading
from pathlib import Path

import pytest

from sampan.cluster import host, scheduler_config, settings
from sampan.cluster.settings import Settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    return settings.home()


def made(directory: Path, name: str = "sampan", **values: object) -> Settings:
    directory.mkdir(parents=True)
    cluster = Settings(name, directory, **values)  # type: ignore[arg-type]
    cluster.save()
    return cluster


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Every field; and nothing where nothing is."""
    cluster = made(tmp_path / "c", "tide", index=3, api_port=7443, nodes=2, runtime="simulated", store="memory")
    assert settings.load(tmp_path / "c") == cluster
    assert settings.load(tmp_path / "none") is None
    assert settings.load(tmp_path / "c" / "cluster.json" / "below") is None


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    """It may have etcd's password in it, wherever it is; also one that was kept before."""
    cluster = made(tmp_path / "c", store="etcd://root:secret@e:1")
    path = tmp_path / "c" / "cluster.json"
    for left in (path, path.with_name("cluster.json.new")):
        left.touch()
        left.chmod(0o644)
        cluster.save()
        assert path.stat().st_mode & 0o777 == 0o600


def test_fields_of_another_version_are_left_out(tmp_path: Path) -> None:
    """A file that a later version wrote can still be read."""
    made(tmp_path / "c")
    path = tmp_path / "c" / "cluster.json"
    path.write_text(path.read_text().replace("{", '{"later": 1,', 1))
    found = settings.load(tmp_path / "c")
    assert found is not None
    assert found.name == "sampan"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '"x"'])
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    """With its path, and without hiding the other clusters."""
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "cluster.json").write_text(text)
    with pytest.raises(settings.SettingsError, match=str(tmp_path / "c")):
        settings.load(tmp_path / "c")
    settings.note(tmp_path / "c")
    assert settings.known_clusters() == []


def test_addresses_follow_from_the_index(tmp_path: Path) -> None:
    """No two clusters share one."""
    first, second = Settings("a", tmp_path), Settings("b", tmp_path, index=1)
    assert (first.service_cidr, first.pod_cidr) == ("10.96.0.0/16", "10.244.0.0/16")
    assert (second.service_cidr, second.pod_cidr) == ("10.97.0.0/16", "10.243.0.0/16")
    assert (second.api_service_ip, second.dns_service_ip) == ("10.97.0.1", "10.97.0.10")
    assert (second.gateway(2), second.node_pod_cidr(2)) == ("10.243.2.1", "10.243.2.0/24")


def test_several_nodes_have_a_network_between_them(tmp_path: Path) -> None:
    """One node is in the host's own; simulated ones are in none."""
    three = Settings("a", tmp_path, index=1, nodes=3)
    assert (three.has_lan, three.lan_link, three.lan_cidr) == (True, "sampan1lan", "10.160.1.0/24")
    assert (three.api_address, three.internal_ip(0), three.internal_ip(2)) == ("10.160.1.1", "10.160.1.2", "10.160.1.4")
    assert three.namespace(2) == tmp_path / "run" / "netns" / "sampan-a-3"
    one = Settings("a", tmp_path, index=1)
    assert (one.has_lan, one.api_address, one.internal_ip(0)) == (False, "10.243.0.1", "10.243.0.1")
    assert not Settings("a", tmp_path, nodes=3, runtime="simulated").has_lan


def test_names(tmp_path: Path) -> None:
    """The default cluster is plainly sampan; the others carry their names."""
    assert Settings("sampan", tmp_path, nodes=2).node_names() == ["sampan", "sampan-2"]
    assert Settings("tide", tmp_path, nodes=2).node_names() == ["sampan-tide", "sampan-tide-2"]
    assert Settings("tide", tmp_path, nodes=0).node_names() == []
    assert (settings.context_name("sampan"), settings.context_name("tide")) == ("sampan", "sampan-tide")


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1", "https://127.0.0.1:6443"),
        ("0.0.0.0", "https://127.0.0.1:6443"),
        ("::", "https://[::1]:6443"),
        ("192.0.2.1", "https://192.0.2.1:6443"),
    ],
)
def test_the_address_to_call(tmp_path: Path, listen: str, url: str) -> None:
    """One that can be dialled, whatever is bound to."""
    assert Settings("a", tmp_path, listen=listen).server_url == url


def test_clusters_elsewhere_are_noted_and_forgotten(tmp_path: Path, home: Path) -> None:
    """The default ones need no note; a directory that is gone is not listed."""
    made(home / "sampan")
    made(tmp_path / "there", "tide")
    for directory in (home / "sampan", tmp_path / "there", tmp_path / "there", tmp_path / "gone"):
        settings.note(directory)
    assert settings.known_directories() == [home / "sampan", tmp_path / "there"]
    settings.forget(tmp_path / "there")
    settings.forget(tmp_path / "gone")
    assert settings.known_directories() == [home / "sampan"]
    assert not (home / "elsewhere").exists()


def test_none_that_is_noted_meanwhile_is_forgotten(tmp_path: Path) -> None:
    """Who goes waits for who comes."""
    for name in ("goes", "comes"):
        made(tmp_path / name)
    settings.note(tmp_path / "goes")
    going = threading.Thread(target=settings.forget, args=(tmp_path / "goes",))
    with settings.locked():
        going.start()
        going.join(0.1)  # shorter, and it tells less, but nothing wrong
        assert going.is_alive()
        settings.note(tmp_path / "comes")
    going.join()
    assert settings.known_directories() == [tmp_path / "comes"]


def test_a_link_to_the_schedulers_configuration_stays_one(tmp_path: Path) -> None:
    """And others may read it, as before."""
    cluster = made(tmp_path / "c")
    (tmp_path / "c" / "scheduler.yaml").symlink_to(tmp_path / "mine")
    scheduler_config.keep(cluster, b"new")
    assert (tmp_path / "c" / "scheduler.yaml").is_symlink()
    assert (tmp_path / "mine").read_bytes() == b"new"
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o644


def test_a_new_cluster_takes_the_lowest_free_index(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one of this user's clusters nor one whose links are on this host."""
    monkeypatch.setattr(host, "_LINKS", tmp_path / "net")
    made(home / "a", "a", index=0)
    made(home / "b", "b", index=2)
    assert host.free_index(home / "c") == 1
    assert host.free_index(home / "a") == 0
    (tmp_path / "net" / "sampan1n0").mkdir(parents=True)
    assert host.free_index(home / "c") == 3


def test_there_is_an_end_to_clusters(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told with the mend."""
    monkeypatch.setattr(settings, "MAX_CLUSTERS", 1)
    monkeypatch.setattr(host, "_LINKS", tmp_path / "net")
    made(home / "a", "a")
    with pytest.raises(host.HostError, match="--purge"):
        host.free_index(home / "b")
