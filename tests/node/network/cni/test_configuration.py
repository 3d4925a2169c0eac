"""CNI configuration: which file counts, what is wrong with one, and what each plugin is told."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from sampan.node.network.cni import configuration, network
from sampan.node.network.cni.configuration import CniError
from sampan.node.network.pod_request import HostPort, PodRequest
from sampan.node.network.services import table
from sampan.node.network.settings import NetworkSettings

Tree = dict[str, Any]
BRIDGE: Tree = {"type": "bridge", "bridge": "cni0"}


def listed(*plugins: Tree, version: str = "1.0.0", **more: Any) -> Tree:
    return {"cniVersion": version, "name": "net", "plugins": list(plugins), **more}


def write(path: Path, given: Tree) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(orjson.dumps(given))
    return path


def test_the_first_file_of_the_first_folder_that_has_any_counts(tmp_path: Path) -> None:
    """By name; other files and folders don't."""
    folders = (str(tmp_path / "none"), str(tmp_path / "empty"), str(tmp_path / "a"), str(tmp_path / "b"))
    (tmp_path / "empty" / "bin.conf").mkdir(parents=True)
    assert configuration.find(folders) is None
    write(tmp_path / "b" / "01.conflist", listed(BRIDGE))
    write(tmp_path / "a" / "readme.txt", {})
    write(tmp_path / "a" / "20.conf", BRIDGE)
    first = write(tmp_path / "a" / "10.conflist", listed(BRIDGE))
    assert configuration.find(folders) == first


def test_a_file_may_have_one_plugin(tmp_path: Path) -> None:
    """It is then a list of one."""
    path = write(tmp_path / "d" / "10.conf", {**BRIDGE, "cniVersion": "0.3.1", "name": "one"})
    found = configuration.load(path)
    assert (found.name, found.version, len(found.plugins)) == ("one", "0.3.1", 1)
    assert not (found.has_check)
    assert not (found.is_told_result)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"cniVersion": "1.0.0", "plugins": [BRIDGE]}, "no network name"),
        (listed(BRIDGE, version="9.0"), "cniVersion '9.0' is none of 0.3.0"),
        (listed(), "no plugins in list"),
        (listed({"bridge": "x"}), "a plugin without a type"),
        (listed({"type": "../sh"}), "invalid plugin name"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, given: Tree, why: str) -> None:
    """With its path."""
    path = write(tmp_path / "d" / "x.conflist", given)
    with pytest.raises(CniError, match=f"x.conflist: .*{why}"):
        configuration.load(path)


def test_broken_json_says_where(tmp_path: Path) -> None:
    """And a file that is none."""
    (tmp_path / "x.conf").write_text("{")
    with pytest.raises(CniError, match="x.conf: "):
        configuration.load(tmp_path / "x.conf")
    with pytest.raises(CniError, match="No such file"):
        configuration.load(tmp_path / "y.conf")


def test_a_plugin_is_told_what_it_can_use(make_settings: Any) -> None:
    """Name and version of the list, the result so far, and of the capabilities those that it has."""
    found = configuration.parse(listed({**BRIDGE, "capabilities": {"portMappings": True, "ips": False}}))
    request = PodRequest(host_ports=(HostPort("tcp", 8080, 80),), ips=("10.0.0.9/24",))
    given = network.capabilities(make_settings(), request)
    told = found.told(found.plugins[0], given, {"ips": []})
    mapping = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}
    assert told["runtimeConfig"] == {"portMappings": [mapping]}
    assert (told["name"], told["cniVersion"], told["prevResult"]) == ("net", "1.0.0", {"ips": []})
    assert "runtimeConfig" not in found.told(BRIDGE, given, None)
    assert "prevResult" not in found.told(BRIDGE, given, None)


def test_capabilities_are_what_the_pod_asks_for(make_settings: Any) -> None:
    """Rates in bits a second with as large a burst as there is; the node's own ranges; addresses."""
    settings: NetworkSettings = make_settings(pod_cidr6="fd00:9::/64")
    found = network.capabilities(settings, PodRequest(ingress_bits=1000, ips=("10.0.0.9/24",)))
    assert found == {
        "ipRanges": [[{"subnet": settings.pod_cidr}], [{"subnet": "fd00:9::/64"}]],
        "bandwidth": {"ingressRate": 1000, "ingressBurst": 2**32 - 1},
        "ips": ["10.0.0.9/24"],
    }


def test_addresses_are_those_of_the_pods_own_link() -> None:
    """Of each family the first, IPv4 before IPv6; those of the host's end don't count."""
    links = [{"name": "cni0"}, {"name": "eth0", "sandbox": "/x"}]
    ips = [
        {"address": "10.0.0.1/24", "interface": 0},
        {"address": "fd00::5/64", "interface": 1},
        {"address": "10.0.0.5/24", "interface": 1},
        {"address": "10.0.0.6/24", "interface": 1},
    ]
    assert network.addresses({"interfaces": links, "ips": ips}) == ("10.0.0.5", "fd00::5")
    assert network.addresses({"ips": [{"version": "4", "address": "10.0.0.7/32"}]}) == ("10.0.0.7",)
    assert network.addresses({}) == ()


def test_services_answer_pods_of_any_address(make_settings: Any) -> None:
    """By every link but the one that leads outside."""
    usual, plugged = make_settings(), make_settings(has_plugins=True, outside="eth9")
    assert f"ip saddr {usual.cluster_pod_cidr} goto translate" in table.base(usual)
    assert 'iifname != "eth9" goto translate' in table.base(plugged)


def test_plugins_are_used_while_there_is_anything_of_theirs(tmp_path: Path) -> None:
    """Configuration, or a record of what they made."""
    assert not configuration.is_used((str(tmp_path / "conf"),), tmp_path)
    (tmp_path / configuration.RECORDS).mkdir()
    assert configuration.is_used((str(tmp_path / "conf"),), tmp_path)
    write(tmp_path / "conf" / "1.conf", BRIDGE)
    assert configuration.is_used((str(tmp_path / "conf"),), tmp_path / "other")
