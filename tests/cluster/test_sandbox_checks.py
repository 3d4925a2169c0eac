"""Whether a user can have real containers without root: what is in the way, with the mend."""

import getpass
import os
from pathlib import Path

import pytest

from sampan.cluster import sandbox_checks, subordinate_ids
from sampan.cluster.subordinate_ids import Range


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine where nothing is in the way."""
    files = {
        "proc/sys/user/max_user_namespaces": "96365\n",
        "proc/sys/kernel/unprivileged_userns_clone": "1\n",
        "dev/net/tun": "",
        "etc/subuid": f"other:100000:65536\n{getpass.getuser()}:165536:65536\n",
        "etc/subgid": f"{os.getuid()}:300000:65536\nnonsense\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def hindrances(root: Path, kernel: str = "6.1.0-18-amd64") -> list[tuple[str, str]]:
    return [(found.what.replace(str(root), ""), found.mend) for found in sandbox_checks.hindrances(str(root), kernel)]


def test_a_usual_machine(root: Path) -> None:
    assert hindrances(root) == []
    assert subordinate_ids.granted(f"{root}/etc/subuid") == Range(165536, 65535)
    assert subordinate_ids.granted(f"{root}/etc/subgid") == Range(300000, 65535)


@pytest.mark.parametrize(
    ("file", "text", "what", "mend"),
    [
        ("proc/sys/kernel/unprivileged_userns_clone", "0", "closed to ordinary users", "unprivileged_userns_clone=1"),
        ("proc/sys/user/max_user_namespaces", "0", "closed to ordinary users", "max_user_namespaces=65536"),
        ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "closed to ordinary users", "userns=0"),
        ("etc/subuid", "", "grants", "usermod --add-subuids"),
        ("etc/subgid", f"{os.getuid()}:100000:10\n", "10 ids, and containers need 65535", "usermod --add-subuids"),
    ],
)
def test_each_hindrance_comes_with_its_mend(root: Path, file: str, text: str, what: str, mend: str) -> None:
    (root / file).write_text(text)
    ((found, advice),) = hindrances(root)
    assert what in found and mend in advice


def test_an_old_kernel_and_no_tun(root: Path) -> None:
    (root / "dev/net/tun").unlink()
    assert [what for what, _ in hindrances(root, "5.10.0-33-amd64")] == [
        "kernel 5.10.0-33-amd64 is older than 5.11",
        "/dev/net/tun may not be opened by this user",
    ]
