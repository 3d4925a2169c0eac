"""`sampan up` before anything starts: what it shows, refuses and asks."""

import dataclasses
import os
from pathlib import Path

import pytest

from sampan.cli import main
from sampan.cluster import agents, api_port, host, settings
from sampan.cluster.doctor import Part
from sampan.cluster.settings import Settings

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, every part installed, and nothing may start."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr("sampan.cluster.doctor.missing_parts", lambda needed: [])
    monkeypatch.setattr("sampan.cluster.escapes._said", str)
    monkeypatch.setattr(host, "_LINKS", tmp_path / "net")
    monkeypatch.setattr(api_port, "is_free", lambda address, port: True)
    monkeypatch.setattr(host, "start", lambda cluster, report: pytest.fail("started"))
    return tmp_path / "share" / "sampan"


def test_dry_run_shows_every_change(capsys: Capture, home: Path, tmp_path: Path) -> None:
    """And makes none."""
    assert main.run(["up", "--dry-run", "--name", "tide", "--nodes", "2"]) == 0
    out = capsys.readouterr().out
    for text in (
        f"cluster tide in {home / 'tide'}",
        "https://127.0.0.1:6443",
        "bridge sampan0n0 with 10.244.0.1; pods in 10.244.0.0/24",
        "bridge sampan0n1 with 10.244.1.1",
        "nftables table sampan-0-1; route to 10.96.0.0/16",
        "cgroups sampan-tide.0",
        "bridge sampan0lan with 10.160.0.1, where the API is served too",
        f"network namespace {home / 'tide'}/run/netns/sampan-tide-2 with 10.160.0.3",
        f"context sampan-tide in {tmp_path / 'kubeconfig'}",
        "`sampan down` takes all of it back",
    ):
        assert text in out
    assert list(tmp_path.iterdir()) == []


def test_dry_run_without_root(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells of the sandbox and what that lacks; nothing is done as root, and there are no cgroups."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("sampan.cluster.sandbox_checks.missing", lambda: [Part("slirp4netns", "slirp4netns")])
    assert main.run(["up", "--dry-run", "--rootless", "--nodes", "2"]) == 0
    out = capsys.readouterr().out
    for text in (
        "sudo apt-get install -y slirp4netns",
        "a sandbox: a user namespace",
        "slirp4netns as its way to the world",
        "between the nodes, in the sandbox, without root:",
        "node sampan, in the sandbox, without root:",
        "    overlay mounts and network namespaces below",
    ):
        assert text in out
    assert "as root" not in out
    assert "cgroups" not in out
    assert main.run(["up", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "node sampan, as root through sudo:" in out
    assert "sandbox" not in out


def test_dry_run_of_a_simulated_cluster(capsys: Capture) -> None:
    """Its nodes change nothing on this host."""
    assert main.run(["up", "--dry-run", "--runtime", "simulated"]) == 0
    out = capsys.readouterr().out
    assert "node sampan, simulated: no change to this host" in out
    assert "bridge" not in out


def test_missing_parts_are_listed_with_the_command(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a dry run as well; a simulated cluster needs none of them."""
    monkeypatch.setattr(
        "sampan.cluster.doctor.missing_parts", lambda needed: [Part("runc", "runc"), Part("nft", "nftables")]
    )
    assert main.run(["up", "--dry-run"]) == 0
    assert "sudo apt-get install -y nftables runc" in capsys.readouterr().out
    assert main.run(["up"]) == 1
    err = capsys.readouterr().err
    assert "lacks runc, nft" in err
    assert "sudo apt-get install -y nftables runc" in err
    assert "--runtime simulated" in err


def test_an_odd_etcd_is_refused(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is none, and an etcd without its client library, are refused with the reason."""
    assert main.run(["up", "--store", "etcd://a:1/x"]) == 1
    assert "etcd://a:1/x is not an etcd: etcd://HOST:PORT" in capsys.readouterr().err
    monkeypatch.setattr("sampan.cli.etcd_options.find_spec", lambda module: None)
    assert main.run(["up", "--store", "etcd://127.0.0.1:2379"]) == 1
    assert "pip install 'sampan[etcd]'" in capsys.readouterr().err


def test_an_ordinary_user_is_asked(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is a no; without sudo there is nothing to ask."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr("builtins.input", lambda prompt: "n")
    assert main.run(["up"]) == 1
    captured = capsys.readouterr()
    assert "needs root" in captured.out
    assert "not started; without root: sampan up --rootless, or sampan up --runtime simulated" in captured.err
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert main.run(["up", "--yes"]) == 1
    assert "there is no sudo here" in capsys.readouterr().err


def test_a_runtime_with_known_escapes(capsys: Capture, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused by name until somebody says, once for a cluster, that it will do."""
    monkeypatch.setattr("sampan.cluster.escapes._said", lambda: "runc version 1.3.2\n")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert main.run(["up", "--yes"]) == 1
    assert "runc 1.3.2 lets a hostile image or pod escape to this host (CVE-2025-31133, " in capsys.readouterr().err
    made(home / "sampan")
    monkeypatch.setattr(host, "start", lambda cluster, report: cluster.save())
    monkeypatch.setattr("sampan.cli.up._merge", lambda *known, switch: None)
    assert main.run(["up"]) == 1
    assert main.run(["up", "--allow-vulnerable-runtime"]) == 0
    assert main.run(["up"]) == 0


def test_a_broken_kubeconfig_is_found_first(capsys: Capture, tmp_path: Path, home: Path) -> None:
    """Before anything is made."""
    (tmp_path / "kubeconfig").write_text("a: [")
    assert main.run(["up"]) == 1
    assert f"{tmp_path / 'kubeconfig'} is not YAML" in capsys.readouterr().err
    assert not (home / "sampan").exists()


def made(directory: Path, **values: object) -> Settings:
    directory.mkdir(parents=True)
    cluster = Settings("sampan", directory, **values)  # type: ignore[arg-type]
    cluster.save()
    return cluster


def test_what_was_not_taken_down_stays_as_it_is(capsys: Capture, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing of it runs: its containers may, and they are where its nodes were."""
    cluster = made(home / "sampan", nodes=3)
    monkeypatch.setattr(host, "is_left", lambda known: True)
    assert main.run(["up", "--dry-run", "--nodes", "1"]) == 1
    assert "cluster sampan runs with nodes 3; to change it to 1: sampan down" in capsys.readouterr().err
    assert main.run(["up", "--dry-run", "--node-monitor-grace-period", "4s"]) == 0
    monkeypatch.setattr(host, "is_left", lambda known: False)
    assert main.run(["up", "--dry-run", "--nodes", "1"]) == 0
    monkeypatch.setattr(host, "is_running", lambda known: known == cluster)
    assert main.run(["up", "--dry-run", "--node-monitor-grace-period", "4s"]) == 1
    assert "runs with node grace seconds 50.0" in capsys.readouterr().err


def test_one_name_is_one_cluster(capsys: Capture, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of the same name in another directory would share context and node, while the first runs."""
    made(home / "sampan")
    monkeypatch.setattr(host, "is_running", lambda known: known.directory == home / "sampan")
    assert main.run(["up", "--dry-run", "--data-dir", str(tmp_path / "other")]) == 1
    assert f"a cluster named sampan already runs in {home / 'sampan'}" in capsys.readouterr().err
    monkeypatch.setattr(host, "is_running", lambda known: False)
    assert main.run(["up", "--dry-run", "--data-dir", str(tmp_path / "other")]) == 0


def test_addresses_that_another_user_took(capsys: Capture, tmp_path: Path, home: Path) -> None:
    """While this cluster was down; its own links, of a crash, are no hindrance."""
    (tmp_path / "net" / "sampan0n0").mkdir(parents=True)
    cluster = made(home / "sampan")
    assert main.run(["up"]) == 1
    assert "its link is sampan0n0" in capsys.readouterr().err
    config = agents.write_config(cluster, 0)
    host.check_links(cluster)
    config.unlink()


@pytest.mark.parametrize(
    "change",
    [
        "--nodes 2",
        "--no-node",
        "--api-port 7443",
        "--listen 127.0.0.2",
        "--runtime simulated",
        "--store memory",
    ],
)
def test_a_running_cluster_is_not_changed(
    change: str, capsys: Capture, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way to do it is told."""
    cluster = made(home / "sampan")
    monkeypatch.setattr(host, "is_running", lambda known: True)
    assert main.run(["up", *change.split()]) == 1
    err = capsys.readouterr().err
    assert "cluster sampan runs with" in err
    assert "sampan down, then this command again" in err
    assert settings.load(home / "sampan") == cluster


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ("Other=true", "unrecognized feature gate: Other; there are: HPAScaleToZero, MaxUnavailableStatefulSet"),
        ("MaxUnavailableStatefulSet", "missing bool value for MaxUnavailableStatefulSet"),
        ("MaxUnavailableStatefulSet=on", "invalid value of MaxUnavailableStatefulSet=on: true or false"),
    ],
)
def test_a_feature_gate_is_checked_first(given: str, refusal: str, capsys: Capture) -> None:
    """One that is not there, and one that is neither opened nor closed."""
    assert main.run(["up", "--feature-gates", given]) == 2
    assert refusal in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "code", "refusal"),
    [
        ("10.40.0.1/24", 2, "10.40.0.1/24 has host bits set; one of pool, node, none, or CIDRs such as 10.40.0.0/24"),
        ("all", 2, "one of pool, node, none, or CIDRs"),
        ("127.0.0.0/24", 2, "127.0.0.0/24 leads nowhere"),
        ("10.40.0.0/24,10.96.3.0/24", 1, "10.96.3.0/24 is not free: the cluster's service addresses are 10.96.0.0/16"),
    ],
)
def test_addresses_of_load_balancers_are_checked_first(given: str, code: int, refusal: str, capsys: Capture) -> None:
    """What is no range, leads nowhere, or is in use by the cluster itself."""
    assert main.run(["up", "--load-balancer", given]) == code
    assert refusal in capsys.readouterr().err


def test_addresses_of_load_balancers_are_kept(home: Path) -> None:
    """Each cluster of a host has a pool of its own, unless another was asked for."""
    assert made(home / "first").load_balancer_cidr == "10.32.0.0/24"
    assert made(home / "other", index=3).load_balancer_cidr == "10.35.0.0/24"
    assert made(home / "node", load_balancer="node").load_balancer_cidr == ""
    made(home / "mine", load_balancer="10.40.0.0/24,fd00::/120")
    known = settings.load(home / "mine")
    assert known is not None
    assert known.load_balancer_cidr == "10.40.0.0/24,fd00::/120"


def test_rootless_is_for_real_containers_and_stays(capsys: Capture, home: Path) -> None:
    """It is refused where it makes no sense, or where the files are root's."""
    assert main.run(["up", "--rootless", "--runtime", "simulated"]) == 1
    assert "--rootless is for containers of our own, not for --runtime simulated" in capsys.readouterr().err
    made(home / "sampan")
    assert main.run(["up", "--rootless"]) == 1
    assert "was made with root's rights; to make it anew without: sampan down --purge" in capsys.readouterr().err


def test_feature_gates_are_kept(capsys: Capture, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the cluster that was started with them; one that runs is not changed."""
    cluster = made(home / "sampan", feature_gates={"MaxUnavailableStatefulSet": True})
    known = settings.load(home / "sampan")
    assert known == cluster
    assert known.gates == {"MaxUnavailableStatefulSet"}
    monkeypatch.setattr(host, "is_running", lambda known: True)
    assert main.run(["up", "--feature-gates", "MaxUnavailableStatefulSet=false"]) == 1
    told = "runs with feature gates MaxUnavailableStatefulSet=true; to change it to MaxUnavailableStatefulSet=false: "
    assert told in capsys.readouterr().err
    dataclasses.replace(cluster, feature_gates={}).save()
    assert main.run(["up", "--feature-gates", "MaxUnavailableStatefulSet=false", "--dry-run"]) == 0  # as it is anyway


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ("lease-duration=5s", "leaseDuration must be greater than renewDeadline: choose another --leader-elect-lease-"),
        ("retry-period=9s", "renewDeadline must be greater than retryPeriod*JitterFactor"),
        ("lease-duration=15500ms", "--leader-elect-lease-duration is in whole seconds"),
        ("renew-deadline=0s", "0s is not greater than zero"),
        ("renew-deadline=soon", "soon is not a duration such as 15s"),
    ],
)
def test_terms_on_which_two_could_lead_are_refused(given: str, refusal: str, capsys: Capture, home: Path) -> None:
    """As upstream's components refuse them; nothing is started."""
    assert main.run(["up", "--dry-run", f"--leader-elect-{given}"]) in (1, 2)
    assert refusal in capsys.readouterr().err
    assert not (home / "sampan").exists()


def test_terms_are_kept(capsys: Capture, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the cluster that was started with them; one that runs is not changed."""
    made(home / "sampan", lease_seconds=30.0)
    monkeypatch.setattr(host, "is_running", lambda known: True)
    assert main.run(["up", "--leader-elect-lease-duration", "1m"]) == 1
    assert "cluster sampan runs with lease seconds 30.0; to change it to 60.0: " in capsys.readouterr().err


def test_a_server_configuration_is_checked_first(capsys: Capture, tmp_path: Path, home: Path) -> None:
    """What is wrong in it is said with its place and its mend, and nothing is started."""
    path = tmp_path / "server.yaml"
    path.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Everything\n")
    assert main.run(["up", "--runtime", "simulated", "--server-config", str(path)]) == 1
    told = capsys.readouterr().err
    assert f"{path}: Policy: rules[0].level is 'Everything': use one of None, Metadata" in told
    assert main.run(["up", "--runtime", "simulated", "--server-config", str(tmp_path / "missing")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_a_scheduler_configuration_is_checked_first(capsys: Capture, tmp_path: Path, home: Path) -> None:
    """What is wrong in it is said with its place, and nothing is started."""
    path = tmp_path / "scheduler.yaml"
    path.write_text("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofile: []\n")
    assert main.run(["up", "--runtime", "simulated", "--scheduler-config", str(path)]) == 1
    assert f'{path}: strict decoding error: unknown field "profile"' in capsys.readouterr().err
    assert main.run(["up", "--runtime", "simulated", "--scheduler-config", str(tmp_path / "missing")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_a_kubelet_configuration_is_checked_first(capsys: Capture, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an agent would refuse, or could not do, is said at once, with its file and place."""
    path = home / "sampan" / "kubelet.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxpods: 3\n")
    assert main.run(["up", "--runtime", "simulated"]) == 1
    assert f"{path}: maxpods: unknown, or not honoured by this node" in capsys.readouterr().err
    path.write_text("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nshutdownGracePeriod: 9s\n")
    monkeypatch.setattr(agents.importlib.util, "find_spec", lambda name: None)
    assert main.run(["up", "--runtime", "simulated"]) == 1
    assert f"{path}: shutdownGracePeriod needs jeepney: pip install 'sampan[systemd]'" in capsys.readouterr().err


def test_address_families_are_chosen_when_a_cluster_is_made(capsys: Capture, home: Path) -> None:
    """A dry run shows both; later the choice stands, and says how to make another. Real nodes have them."""
    both = ["--ip-families", "IPv4,IPv6"]
    assert main.run(["up", "--dry-run", *both]) == 0
    out = capsys.readouterr().out
    assert "pods in 10.244.0.0/24 and fd00:10:244::/64" in out
    assert "route to 10.96.0.0/16 and fd00:10:96::/112; IPv4 and IPv6 forwarding on" in out
    assert main.run(["up", "--dry-run", *both, "--nodes", "2"]) == 0
    assert "where the API is served too; IPv4 and IPv6 forwarding on" in capsys.readouterr().out
    assert main.run(["up", "--dry-run", *both, "--runtime", "simulated"]) == 1
    assert "is for real containers, not for simulated nodes" in capsys.readouterr().err
    directory = home / "sampan"
    directory.mkdir(parents=True)
    Settings("sampan", directory).save()
    assert main.run(["up", "--dry-run", *both]) == 1
    assert "cluster sampan was made with IPv4 addresses" in capsys.readouterr().err
    assert main.run(["up", "--dry-run", "--ip-families", "IPv4"]) == 0


def test_cni_configuration_that_cannot_be_read_is_refused(capsys: Capture, home: Path) -> None:
    """Before anything starts, with its path."""
    folder = home / "sampan" / "cni"
    folder.mkdir(parents=True)
    (folder / "10-net.conflist").write_text('{"name": "net", "cniVersion": "7", "plugins": []}')
    assert main.run(["up"]) == 1
    assert f"{folder}/10-net.conflist: cniVersion '7' is none of" in capsys.readouterr().err
