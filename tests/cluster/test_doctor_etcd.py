"""What `sampan doctor` tells of an etcd: each thing that is wrong, with its mend."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("grpc")

from sampan.cli import main  # noqa: E402
from sampan.cluster import doctor, doctor_etcd  # noqa: E402
from sampan.cluster.doctor import Finding  # noqa: E402
from sampan.cluster.doctor_etcd import Seen  # noqa: E402
from sampan.cluster.settings import Settings  # noqa: E402
from sampan.store import etcd_health  # noqa: E402
from sampan.store.etcd import EtcdStore  # noqa: E402
from sampan.store.etcd_address import Address  # noqa: E402
from sampan.store.etcd_health import Health, Member  # noqa: E402
from sampan.store.protocol import Put, StoreError  # noqa: E402
from sampan.web import certificates  # noqa: E402
from sampan.web.certificates import Subject  # noqa: E402
from tests.store.etcd import Etcd, free_ports  # noqa: E402

NOW = 1_800_000_000.0
DAY = 24 * 3600
WELL = Member(
    "h:1", version="3.5.9", cluster=7, is_leader=True, size=3 << 20, used=2 << 20, quota=8 << 30, ends=NOW + 90 * DAY
)
PLACE = Address.parse("etcds://h:1")


def told(*members: Member, address: Address = PLACE, refusal: str = "", count: int = 0) -> list[Finding]:
    return doctor_etcd.examine(Seen(address, Health(members, refusal, count)), NOW)


def but(**fields: object) -> Member:
    return dataclasses.replace(WELL, **fields)  # type: ignore[arg-type]


def test_one_that_is_well() -> None:
    """One line says what it is."""
    assert told(WELL) == [Finding("ok", "etcd h:1: etcd 3.5.9, leader, 3.0 of 8192 MiB")]
    assert told(Member("h:1")) == [Finding("ok", "etcd h:1")]


@pytest.mark.parametrize(
    ("member", "level", "what", "mend"),
    [
        (but(version="3.3.1"), "error", "3.3.1; 3.4 or later is needed", "member by member"),
        (but(version="3.5.1"), "warning", "3.5.1, which can lose data in a crash", "member by member"),
        (but(has_leader=False), "warning", "knows of no leader", "endpoint status"),
        (but(is_learner=True), "warning", "is a learner", "member promote"),
        (but(alarms=("NOSPACE",)), "error", "full (alarm NOSPACE): it takes no writes", "etcdctl alarm disarm"),
        (but(alarms=("CORRUPT",)), "error", "damaged (alarm CORRUPT)", "member remove"),
        (but(size=7 << 30, used=7 << 30), "warning", "nearly full: 7168.0 of 8192 MiB", "--quota-backend-bytes"),
        (but(size=7 << 30, used=1 << 30), "warning", "1024.0 MiB of it in use", "defrag"),
        (but(history=900_000), "warning", "900000 changes are not compacted", "control plane"),
        (but(ahead_seconds=60), "warning", "60 s ahead of this machine's", "NTP"),
        (but(ahead_seconds=-60), "warning", "60 s behind this machine's", "NTP"),
        (but(ends=NOW + DAY), "warning", "the certificate of etcd h:1 ends on 2027-01-16", "renew it"),
        (but(fault="no answer"), "warning", "h:1: no answer", "--store"),
    ],
)  # fmt: skip
def test_one_that_is_not(member: Member, level: str, what: str, mend: str) -> None:
    """Each thing is told of its member, with what to do; another one that serves makes some of it less bad."""
    found = [finding for finding in told(member, dataclasses.replace(WELL, name="h:2")) if "h:2" not in finding.what]
    (finding,) = (finding for finding in found if finding.level != "ok")
    assert (finding.level, what in finding.what, mend in finding.mend) == (level, True, True), finding


def test_all_together() -> None:
    """Nobody there, no majority, a user who may not, members of two etcds, and ones that are not named."""
    assert {f.level for f in told(but(fault="no answer"))} == {"error"}
    alone = told(but(has_leader=False), but(fault="gone"), refusal="no leader")
    assert [f.level for f in alone] == ["error", "error", "error"] and "majority" in alone[-1].mend
    assert "--store etcd://USER:PASSWORD@" in told(WELL, refusal="etcd: user name is empty")[-1].mend
    assert "h:1, h:1 are members of different etcds" in told(WELL, but(cluster=8))[-1].what
    assert "has 3 members, and --store names 1" in told(WELL, count=3)[-1].what
    assert told(WELL, count=1) == told(WELL)
    named = Address.parse("etcd://u:p@h:1")
    assert "password of etcd goes over the network as it is" in told(WELL, address=named)[-1].what
    assert told(WELL, address=Address.parse("etcd://u:p@127.0.0.1:1")) == told(WELL)


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    made = Etcd(tmp_path / "etcd", "--quota-backend-bytes=4194304")
    made.start()
    made.wait_listening()
    yield made
    made.stop()


async def test_a_real_one(etcd: Etcd) -> None:
    """All that it says of itself is understood; also when it is full, and when its clock is another."""
    store = await EtcdStore.open(etcd.url)
    address = Address.parse(f"{etcd.url},127.0.0.1:{free_ports(1)[0]}")
    seen = await doctor_etcd.gather(address)
    well, gone = seen.health.members
    assert (well.has_leader, well.is_leader, well.is_learner, well.alarms) == (True, True, False, ())
    assert well.quota == 4 << 20 and 0 < well.used <= well.size and well.cluster and well.version.count(".") == 2
    assert abs(well.ahead_seconds) <= 5 and gone.fault == "Connection refused"
    assert (seen.health.refusal, seen.health.count) == ("", 1)
    found = doctor_etcd.examine(seen, time.time())
    assert [finding.level for finding in found] == ["ok", "warning"]

    with pytest.raises(StoreError, match="its quota is full"):
        for n in range(100):
            await store.txn((), (Put(f"k/{n}", bytes(1 << 18)),))
    await store.close()
    full = await etcd_health.look(Address.parse(etcd.url), lambda: time.time() - 1000)
    (member,) = full.members
    assert member.alarms == ("NOSPACE",) and member.history > 5 and member.ahead_seconds > 900


def test_the_command(
    etcd: Etcd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It looks at the cluster's etcd, or at the one that is named; 1 when that can't be used; no password is shown."""
    good = doctor.Facts(system="", kernel="")
    monkeypatch.setattr(doctor, "gather", lambda directory: good)
    monkeypatch.setattr(doctor, "examine", lambda facts: [])
    monkeypatch.setattr("sampan.cluster.escapes._said", str)
    monkeypatch.setattr("sampan.cluster.container_runtime.findings", list)
    cluster = Settings("tide", tmp_path / "tide", store=etcd.url)
    cluster.directory.mkdir()
    cluster.save()
    assert main.run(["doctor", "--data-dir", str(cluster.directory)]) == 0
    assert f"[ok  ] etcd 127.0.0.1:{etcd.port}: etcd 3." in capsys.readouterr().out
    (port,) = free_ports(1)
    assert main.run(["doctor", "--store", f"etcd://u:secret@127.0.0.1:{port}"]) == 1
    out = capsys.readouterr().out
    assert f"[FAIL] etcd 127.0.0.1:{port}: Connection refused\n       see its log" in out and "secret" not in out
    assert out.splitlines()[-1] == f"1 to mend of the etcd at etcd://127.0.0.1:{port}"
    assert main.run(["doctor", "--store", "memory"]) == 1
    assert "--store is for an etcd" in capsys.readouterr().err


async def test_our_own_files(tmp_path: Path) -> None:
    """When they end, and when they can't be read."""
    now = time.time()
    authority = certificates.new_authority("ca", now)
    authority.save(tmp_path, "ca")
    certificates.issue(authority, Subject("us"), now - 360 * DAY).save(tmp_path, "us")
    (port,) = free_ports(1)
    named = Address.parse(f"etcds://127.0.0.1:{port}?ca={tmp_path}/ca.crt&cert={tmp_path}/us.crt&key={tmp_path}/us.key")
    found = doctor_etcd.examine(await doctor_etcd.gather(named), now)
    assert [(f.level, f.what.partition(" on ")[0]) for f in found] == [
        ("warning", f"{tmp_path}/us.crt ends"), ("error", f"etcd 127.0.0.1:{port}: Connection refused"),
    ]  # fmt: skip
    assert doctor_etcd.examine(Seen(named, Health(()), {"us.crt": now - 1}), now)[0].level == "error"
    (tmp_path / "us.key").unlink()
    (finding,) = doctor_etcd.examine(await doctor_etcd.gather(named), now - 300 * DAY)
    assert finding.level == "error" and f"{tmp_path}/us.key: No such file" in finding.what
