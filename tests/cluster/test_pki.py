"""The cluster's keys: made once, renewed in time, readable by their owner alone."""

from pathlib import Path

import pytest

from sampan.cluster import key_files, pki
from sampan.cluster.settings import Settings
from sampan.web import certificates
from sampan.web.certificates import Pair

NOW = 1_800_000_000.0
DAY = 24 * 3600


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One whose keys were made at NOW."""
    made = Settings("tide", tmp_path_factory.mktemp("pki"), nodes=2, index=1)
    pki.ensure(made, NOW)
    return made


def test_all_are_there_and_private(cluster: Settings) -> None:
    """A pair each, and the key for tokens; nothing is left half-written."""
    names = {path.name for path in cluster.path("pki").iterdir()}
    pairs = ("ca", "apiserver", "admin", "apiserver-kubelet-client", "controllers", "scheduler",
             "front-proxy-ca", "front-proxy-client")  # fmt: skip
    nodes = tuple(f"node-sampan-tide{which}{end}" for which in ("", "-2") for end in ("", "-serving"))
    assert names == {f"{pair}.{end}" for pair in (*pairs, *nodes) for end in ("crt", "key")} | {
        "sa.key",
        "client-ca.crt",
    }
    assert cluster.path("pki").stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in cluster.path("pki").glob("*.key")} == {0o600}


def test_nothing_is_made_twice(cluster: Settings) -> None:
    """A day later all is as it was."""
    before = contents(cluster.path("pki"))
    pki.ensure(cluster, NOW + DAY)
    assert contents(cluster.path("pki")) == before


def test_the_server_has_every_name(cluster: Settings) -> None:
    """Of this host, of pods, and the address that was asked for."""
    pair = Pair.load(cluster.path("pki"), key_files.SERVER)
    assert pair is not None
    assert certificates.serves(pair, ("localhost", "127.0.0.1", "10.97.0.1", "10.160.1.1", "kubernetes.default.svc"))
    assert "192.0.2.7" in pki.server_hosts(Settings("a", cluster.directory, listen="192.0.2.7"))
    everywhere = pki.server_hosts(Settings("a", cluster.directory, listen="0.0.0.0"))
    assert "0.0.0.0" not in everywhere
    assert len(everywhere) > len(pki.server_hosts(Settings("a", cluster.directory)))


def test_renewal(tmp_path: Path) -> None:
    """Before the end, or when a name is missing; the authority and the token key stay."""
    cluster = Settings("tide", tmp_path)
    keys = pki.ensure(cluster, NOW)
    before = contents(keys)
    pki.ensure(Settings("tide", tmp_path, listen="192.0.2.7"), NOW)
    changed = {name for name, data in contents(keys).items() if data != before[name]}
    assert changed == {"apiserver.crt", "apiserver.key"}
    pki.ensure(cluster, NOW + 340 * DAY)
    kept = {name for name, data in contents(keys).items() if data == before[name]}
    assert kept == {"ca.crt", "ca.key", "sa.key", "client-ca.crt", "front-proxy-ca.crt", "front-proxy-ca.key"}


def test_a_running_server_renews_its_own(tmp_path: Path) -> None:
    """Nothing while all is fresh; near the end those that nobody asks for by request, and not the nodes'."""
    cluster = Settings("tide", tmp_path)
    keys = pki.ensure(cluster, NOW)
    before = contents(keys)
    assert pki.renew(cluster, NOW + 300 * DAY) == []
    renewed = pki.renew(cluster, NOW + 340 * DAY)
    assert set(renewed) == {
        "apiserver", "apiserver-kubelet-client", "admin", "controllers", "scheduler", "front-proxy-client",
    }  # fmt: skip
    changed = {name for name, data in contents(keys).items() if data != before[name]}
    assert changed == {f"{name}.{end}" for name in renewed for end in ("crt", "key")}


def test_nothing_outlives_its_authority(tmp_path: Path) -> None:
    """What is signed in an authority's last year ends with it; both ends are told of."""
    cluster = Settings("tide", tmp_path)
    keys = pki.ensure(cluster, NOW)
    assert pki.authority_ends(cluster) == {"ca": NOW - 300 + 3650 * DAY, "front-proxy-ca": NOW - 300 + 3650 * DAY}
    pki.renew(cluster, NOW + 3400 * DAY)
    ends = {path.stem: certificates.lifetime(path.read_bytes())[1] for path in keys.glob("*.crt")}
    assert ends["apiserver"] == ends["front-proxy-client"] == ends["ca"]
    last = contents(keys)
    assert pki.renew(cluster, NOW + 3630 * DAY) == []  # they would end no later
    assert contents(keys) == last
    pki.renew(cluster, NOW + 3660 * DAY)  # too late, and no failure of the loop that asks for it


def test_half_a_pair_is_made_anew(tmp_path: Path) -> None:
    """As a crash between the two files leaves it."""
    cluster = Settings("tide", tmp_path)
    keys = pki.ensure(cluster, NOW)
    (keys / "admin.crt").unlink()
    pki.ensure(cluster, NOW)
    assert Pair.load(keys, key_files.ADMIN) is not None
