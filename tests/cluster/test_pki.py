"""The cluster's keys: made once, renewed in time, readable by their owner alone."""

from pathlib import Path

import pytest
from cryptography import x509

from sampan.cluster import key_files, pki
from sampan.cluster.settings import Settings
from sampan.web import certificates
from sampan.web.certificates import Pair, Subject

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


def test_a_key_says_of_which_kind_it_is(cluster: Settings) -> None:
    """As kubeadm's do: Java's clients tell RSA from EC by the first line alone."""
    begins = {path.name: path.read_bytes().splitlines()[0] for path in cluster.path("pki").glob("*.key")}
    assert begins.pop("sa.key") == b"-----BEGIN RSA PRIVATE KEY-----"
    assert set(begins.values()) == {b"-----BEGIN EC PRIVATE KEY-----"}


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


@pytest.mark.parametrize("days", [400, -400])
def test_a_machine_that_slept(tmp_path: Path, days: int) -> None:
    """Nodes that nobody answers any more, since their certificates have ended, or don't hold yet, get new ones."""
    cluster = Settings("tide", tmp_path, nodes=2)
    pki.ensure(cluster, NOW - 500 * DAY)
    keys = pki.ensure(cluster, NOW)
    (keys / "node-sampan-tide-2.crt").unlink()  # as that of a node that is to be made yet
    renewed = pki.renew(cluster, NOW + days * DAY)
    assert {name for name in renewed if name.startswith("node")} == {
        "node-sampan-tide", "node-sampan-tide-serving", "node-sampan-tide-2-serving",
    }  # fmt: skip
    assert {"apiserver", "admin", "front-proxy-client"} < set(renewed)
    for name in renewed:
        assert certificates.holds((keys / f"{name}.crt").read_bytes(), NOW + days * DAY)
    assert pki.renew(cluster, NOW + days * DAY) == []


@pytest.mark.parametrize("years", [8.1, 12, -2])
def test_an_authority_lasts(tmp_path: Path, years: float) -> None:
    """Started in its last two years, after them or before it began, it has another certificate for its key: the old ones go on."""
    cluster, later = Settings("tide", tmp_path), NOW + years * 365 * DAY
    keys = pki.ensure(cluster, NOW)
    before = contents(keys)
    if years > 0:
        pki.ensure(cluster, NOW + 7.9 * 365 * DAY)
    assert contents(keys)["ca.crt"] == before["ca.crt"]
    of_old = certificates.issue(Pair(before["ca.crt"], before["ca.key"]), Subject("a"), NOW)
    pki.ensure(cluster, later)
    after = contents(keys)
    for name in ("ca", "front-proxy-ca"):
        assert after[f"{name}.key"] == before[f"{name}.key"]
        assert certificates.key_hash(after[f"{name}.crt"]) == certificates.key_hash(before[f"{name}.crt"])
        assert certificates.lifetime(after[f"{name}.crt"])[1] > later + 9 * 365 * DAY
    assert after["client-ca.crt"] == after["ca.crt"] + after["front-proxy-ca.crt"]
    for pair, when in ((of_old, NOW + DAY), (Pair.load(keys, key_files.ADMIN), later)):
        assert pair is not None
        authority = x509.load_pem_x509_certificate(after["ca.crt"])
        x509.load_pem_x509_certificate(pair.certificate).verify_directly_issued_by(authority)
        assert certificates.holds(pair.certificate, when)


@pytest.mark.parametrize("wrong", [86400.0, NOW + 11 * 365 * DAY])
def test_a_start_with_a_wrong_clock(tmp_path: Path, wrong: float, caplog: pytest.LogCaptureFixture) -> None:
    """As of a machine whose clock was not set yet: the authority goes on, and everything else holds once it is right."""
    cluster = Settings("tide", tmp_path)
    keys = pki.ensure(cluster, NOW)
    before = contents(keys)
    pki.ensure(cluster, wrong)
    assert [record.getMessage().partition(" is made anew")[0] for record in caplog.records] == [
        "ca.crt", "front-proxy-ca.crt",
    ]  # fmt: skip
    for name in ("ca.crt", "front-proxy-ca.crt"):
        (start, end), was = (certificates.lifetime(data[name]) for data in (contents(keys), before))
        assert start <= min(was[0], wrong) and end >= max(was[1], wrong)
    for _ in range(2):
        made = pki.renew(cluster, NOW + DAY)
        pki.ensure(cluster, NOW + DAY)
    assert made == []
    for file in keys.glob("*.crt"):
        assert certificates.holds(file.read_bytes(), NOW + DAY) and certificates.holds(
            file.read_bytes(), NOW + 300 * DAY
        )
    assert len(caplog.records) == 2


def test_an_authority_of_the_users(tmp_path: Path) -> None:
    """One that another has signed is left as it is: told when it has ended, and nothing is signed by it."""
    cluster = Settings("tide", tmp_path)
    keys = pki.ensure(cluster, NOW)
    root = certificates.new_authority("root", NOW)
    signed = certificates.issue(root, Subject("sampan-ca"), NOW)
    signed.save(keys, key_files.AUTHORITY)
    pki.ensure(cluster, NOW + 300 * DAY)
    assert (keys / "ca.crt").read_bytes() == signed.certificate
    before = contents(keys)
    with pytest.raises(pki.AuthorityError, match="set the clock, or put one that holds there"):
        pki.ensure(cluster, NOW + 400 * DAY)
    assert (keys / "ca.crt").read_bytes() == signed.certificate
    assert (keys / "apiserver.crt").read_bytes() == before["apiserver.crt"]


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
    with pytest.raises(
        pki.AuthorityError, match=r"^the authority holds from 2027.* to 2037.*: set the clock, or start"
    ):
        pki.renew(cluster, NOW + 3660 * DAY)
    assert contents(keys) == last


def test_half_a_pair_is_made_anew(tmp_path: Path) -> None:
    """As a crash between the two files leaves it."""
    cluster = Settings("tide", tmp_path)
    keys = pki.ensure(cluster, NOW)
    (keys / "admin.crt").unlink()
    pki.ensure(cluster, NOW)
    assert Pair.load(keys, key_files.ADMIN) is not None


def test_leaves_of_another_authority_are_made_anew(tmp_path: Path) -> None:
    """As a loss of the authority's own files leaves them, or one that is put in its place; one that stays beside holds on."""
    cluster = Settings("tide", tmp_path)
    keys = pki.ensure(cluster, NOW)
    before = contents(keys)
    (keys / "ca.key").unlink()
    pki.ensure(cluster, NOW)
    fresh = contents(keys)
    leaves = {name for name in fresh if name.endswith(".crt")} - {
        "ca.crt",
        "front-proxy-ca.crt",
        "front-proxy-client.crt",
    }
    assert {name for name in fresh if fresh[name] != before[name]} == leaves | {
        "ca.crt", "ca.key", *(name.replace(".crt", ".key") for name in leaves if name != "client-ca.crt")
    }  # fmt: skip
    assert all(certificates.is_signed_by(fresh[name], fresh["ca.crt"]) for name in leaves - {"client-ca.crt"})
    other = certificates.new_authority("other", NOW)
    Pair(other.certificate + fresh["ca.crt"], other.key).save(keys, key_files.AUTHORITY)
    pki.ensure(cluster, NOW)
    assert contents(keys)["apiserver.crt"] == fresh["apiserver.crt"]


def test_no_keys_where_all_was_removed(tmp_path: Path) -> None:
    """Who was still at it does not make the cluster's folder again."""
    with pytest.raises(FileNotFoundError):
        certificates.new_authority("late", NOW).save(tmp_path / "tide" / "pki", key_files.AUTHORITY)
    assert not (tmp_path / "tide").exists()
