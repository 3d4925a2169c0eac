"""A host forwards as before when the last node has left, unless others need it by then."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.node.network import forwarding, namespaces, sysctls
from tests.node.network import lab


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """The test's thread is in a network namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    home = namespaces.host_fd()
    own = namespaces.enter_new()
    try:
        yield None
    finally:
        namespaces.move_to(home)
        os.close(own)
        os.close(home)


def link(folder: Path, name: str, *, devtype: str = "", peer: int = 7, files: tuple[str, ...] = ()) -> None:
    """As the kernel shows one, of index 7."""
    (folder / name).mkdir(parents=True)
    kind = f"DEVTYPE={devtype}\n" if devtype else ""
    for file, text in {"uevent": f"{kind}INTERFACE={name}\n", "ifindex": "7\n", "iflink": f"{peer}\n"}.items():
        (folder / name / file).write_text(text)
    for file in files:
        (folder / name / file).touch()


def test_others_for_whom_a_host_forwards(tmp_path: Path) -> None:
    """Those with bridges, tunnels and cables; not hardware, what is made of it, fallback tunnels, or another of ours."""
    link(tmp_path, "lo")
    link(tmp_path, "enp3s0", files=("device",))
    link(tmp_path, "usb0", peer=3, files=("device",))
    link(tmp_path, "enp3s0.5", devtype="vlan", peer=3)
    link(tmp_path, "bond0", devtype="bond")
    link(tmp_path, "wlan0", devtype="wlan", files=("device",))
    link(tmp_path, "dummy0")
    link(tmp_path, "tunl0", peer=0)
    link(tmp_path, "st1n1", devtype="bridge")
    link(tmp_path, "sampan3n1p4", peer=9)
    (tmp_path / "bonding_masters").touch()
    assert forwarding.needed_by("st1n", tmp_path) == []
    link(tmp_path, "docker0", devtype="bridge")
    link(tmp_path, "flannel.1", devtype="vxlan")
    link(tmp_path, "tun0", files=("tun_flags",))
    link(tmp_path, "vethaf0", peer=9)
    link(tmp_path, "wg0", devtype="wireguard")
    assert forwarding.needed_by("st1n", tmp_path) == ["docker0", "flannel.1", "tun0", "vethaf0", "wg0"]


@pytest.mark.root
@pytest.mark.parametrize(("stranger", "after"), [("docker0", "1"), ("", "0")])
def test_a_host_goes_on_forwarding_for_others(elsewhere: None, tmp_path: Path, stranger: str, after: str) -> None:
    """Though it did not before the first node came, as Docker came after that; for hardware only it ends."""
    settings, links = lab.settings(tmp_path), tmp_path / "links"
    link(links, "eth1", files=("device",))
    for name in (forwarding.IPV4, forwarding.IPV6):
        sysctls.write(name, "0")
    forwarding.claim(settings)
    assert sysctls.read(forwarding.IPV4) == sysctls.read(forwarding.IPV6) == "1"
    if stranger:
        link(links, stranger, devtype="bridge")
    forwarding.release(settings, links)
    assert sysctls.read(forwarding.IPV4) == sysctls.read(forwarding.IPV6) == after
    assert not settings.run_dir.exists()
