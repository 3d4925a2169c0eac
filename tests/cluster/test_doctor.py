"""What the doctor says about machines."""

from sampan.cluster import doctor
from sampan.cluster.doctor import Facts

GOOD = Facts(
    kernel="6.1.0-18-amd64",
    programs={name: f"/usr/sbin/{name}" for name in ("runc", "conmon", "nft", "ip")},
    file_systems=frozenset({"overlay", "tmpfs"}),
    capabilities=(1 << 41) - 1,
    controllers=frozenset({"cpu", "memory", "pids"}),
)


def changed(**facts: object) -> list[doctor.Finding]:
    values = {name: getattr(GOOD, name) for name in Facts.__dataclass_fields__}
    return [f for f in doctor.examine(Facts(**{**values, **facts})) if f.level != "ok"]


def test_a_good_machine_needs_nothing() -> None:
    """Every finding is ok."""
    assert changed() == []


def test_each_lack_comes_with_its_mend() -> None:
    """The exact command where there is one."""
    assert [f.mend for f in changed(programs={})] == [
        f"sudo apt-get install -y {package}" for package in ("runc", "conmon", "nftables", "iproute2")
    ]
    assert changed(file_systems=frozenset({"tmpfs"}))[0].mend == "sudo modprobe overlay"
    assert changed(kernel="4.19.0")[0].level == "error"
    assert changed(disk_free=1)[0].level == "warning"
    assert changed(cgroups="none")[0].level == "error"
    assert changed(controllers=frozenset({"cpu", "memory"}))[0].level == "warning"
    assert changed(nft_error="no")[0].level == "error"


def test_profiles_that_nothing_can_load() -> None:
    """AppArmor in the kernel takes its parser; without it in the kernel nothing is missing."""
    assert [f.mend for f in changed(has_apparmor=True)] == ["sudo apt-get install -y apparmor"]
    assert changed(has_apparmor=True, programs={**GOOD.programs, "apparmor_parser": "/sbin/apparmor_parser"}) == []


def test_what_else_the_host_has() -> None:
    """Others' name servers and firewalls, each with its mend."""
    taken = changed(name_servers=("dnsmasq at 0.0.0.0",))
    assert [f.level for f in taken] == ["error"]
    assert "port 53 is taken at all addresses (dnsmasq at 0.0.0.0)" in taken[0].what
    assert "bind-interfaces" in taken[0].mend
    assert [f.level for f in changed(name_servers=("named at [::]",))] == ["warning"]
    firewalld = changed(has_firewalld=True)
    assert [f.level for f in firewalld] == ["note"]
    assert "firewall-cmd --permanent --zone=trusted --add-source=10.244.0.0/16 && firewall-cmd --reload" in (
        firewalld[0].mend
    )
    legacy = changed(legacy_forward_drops=True)
    assert [f.level for f in legacy] == ["warning"]
    assert "iptables-legacy -I FORWARD -d 10.244.0.0/16 -j ACCEPT" in legacy[0].mend


def test_rights() -> None:
    """An ordinary user needs sudo; a lesser root is told what it lacks."""
    assert [f.level for f in changed(uid=1000, has_elevation=True)] == ["note"]
    assert [f.level for f in changed(uid=1000)] == ["error"]
    assert [f.level for f in changed(capabilities=GOOD.capabilities & ~(1 << 24))] == ["note"]
    assert "CAP_NET_ADMIN" in changed(capabilities=GOOD.capabilities & ~(1 << 12))[0].what


def test_another_system_is_pointed_to_simulation() -> None:
    """One finding, one way on."""
    assert [f.mend for f in doctor.examine(Facts(system="Darwin"))] == ["sampan up --runtime simulated"]


def test_this_machine_can_be_looked_at() -> None:
    """Looking changes nothing and finds a kernel."""
    assert doctor.examine(doctor.gather())


def test_one_command_installs_all_parts() -> None:
    """Debian's package names, sorted."""
    assert doctor.install_command(doctor.PARTS) == "sudo apt-get install -y conmon iproute2 nftables runc"
