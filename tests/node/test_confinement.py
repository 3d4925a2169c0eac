"""Profiles and recursively read-only mounts: given where the machine has them, refused by name where it has not."""

from typing import Any

import pytest

from sampan.node import confinement
from sampan.node.env import ConfigError
from sampan.node.runtime.protocol import APPARMOR_DEFAULT, Features

NONE = Features(recursive_read_only=False, apparmor=False)


def localhost(name: str) -> dict[str, Any]:
    return {"seccompProfile": {"type": "Localhost", "localhostProfile": name}}


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({}, ("Unconfined", "")),
        ({"seccompProfile": {"type": "RuntimeDefault"}}, ("RuntimeDefault", "")),
        (localhost("a/b.json"), ("Localhost", "/node/seccomp/a/b.json")),
        ({**localhost("a.json"), "privileged": True}, ("Unconfined", "")),
    ],
)
def test_seccomp(context: dict[str, Any], expected: tuple[str, str]) -> None:
    """A profile of the node's is below its folder; a privileged container has none."""
    assert confinement.seccomp(context, "/node/seccomp") == expected


@pytest.mark.parametrize("name", ["", "/etc/profile.json", "a/../../b.json"])
def test_a_seccomp_profile_from_elsewhere(name: str) -> None:
    """No path leads out of the node's folder."""
    with pytest.raises(ConfigError):
        confinement.seccomp(localhost(name), "/node/seccomp")


def test_a_pod_that_asks_for_a_profile_is_turned_away_where_there_are_none() -> None:
    """Whichever part of it asks."""
    asking = {"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}
    reason = ("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")
    for spec in (asking, {"containers": [{}, asking]}, {"initContainers": [asking]}):
        assert confinement.refusal({"spec": spec}, NONE) == reason
        assert confinement.refusal({"spec": spec}, Features()) is None
    assert confinement.refusal({"spec": {"containers": [{}]}}, NONE) is None


def test_apparmor() -> None:
    """A loaded profile is named to the kernel; what can't be enforced is refused."""
    mine = {"appArmorProfile": {"type": "Localhost", "localhostProfile": "mine"}}
    unconfined = {"appArmorProfile": {"type": "Unconfined"}}
    assert confinement.apparmor(mine, Features()) == "mine"
    assert confinement.apparmor({}, Features()) == ""
    assert (confinement.apparmor(unconfined, Features()), confinement.apparmor(unconfined, NONE)) == ("unconfined", "")
    with pytest.raises(ConfigError, match="Cannot enforce AppArmor: AppArmor is not enabled on the host"):
        confinement.apparmor(mine, NONE)
    by_name = {"appArmorProfile": {"type": "RuntimeDefault"}}
    assert confinement.apparmor(by_name, Features()) == APPARMOR_DEFAULT
    with pytest.raises(ConfigError, match="AppArmor is not enabled on the host"):
        confinement.apparmor(by_name, NONE)


def test_recursively_read_only() -> None:
    """IfPossible where it is possible, Enabled or not at all."""
    mount = {"name": "v", "mountPath": "/v", "readOnly": True}
    assert not confinement.is_recursive(mount, Features())
    for wanted, possible in (("IfPossible", True), ("Enabled", True), ("Disabled", False)):
        assert confinement.is_recursive({**mount, "recursiveReadOnly": wanted}, Features()) is possible
    assert not confinement.is_recursive({**mount, "recursiveReadOnly": "IfPossible"}, NONE)
    with pytest.raises(ConfigError, match='volume "v" requested recursive read-only mode, but it is not supported'):
        confinement.is_recursive({**mount, "recursiveReadOnly": "Enabled"}, NONE)
