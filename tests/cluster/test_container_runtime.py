"""`--runtime` names what runs containers, or is refused; what can't be used is said before anything starts."""

from pathlib import Path

import pytest

from sampan.cluster import container_runtime, doctor
from sampan.cluster.container_runtime import ContainerRuntimeError
from sampan.cluster.settings import Settings


def cluster(runtime: str) -> Settings:
    return Settings("x", Path("/x"), runtime=runtime)


def test_names() -> None:
    """An endpoint is kept as it is, and `cri` is containerd's usual one."""
    found = [container_runtime.parse(text) for text in ("auto", "oci", "simulated", "cri", "unix:///a/b.sock")]
    assert found == ["auto", "oci", "simulated", "unix:///run/containerd/containerd.sock", "unix:///a/b.sock"]
    for text in ("docker", "unix://", "unix:///", "unix://a", "/run/containerd/containerd.sock", ""):
        with pytest.raises(ValueError, match="is not a runtime: auto, oci, simulated, cri, or unix:///PATH"):
            container_runtime.parse(text)


def test_what_nodes_need() -> None:
    """containerd brings what runs containers; the network is sampan's with every runtime."""
    assert container_runtime.parts(cluster("oci")) == doctor.PARTS
    assert [part.name for part in container_runtime.parts(cluster("unix:///a"))] == ["nft", "ip", "ctr"]


def test_no_socket(tmp_path: Path) -> None:
    """Refused with the mend; other runtimes are not looked for."""
    container_runtime.check(cluster("oci"))
    container_runtime.check(cluster("simulated"))
    with pytest.raises(ContainerRuntimeError, match="there is no socket at unix://.*: is containerd running"):
        container_runtime.check(cluster(f"unix://{tmp_path}/none.sock"))


def test_the_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says nothing of a containerd that isn't there, and what is wrong with one that doesn't answer."""
    path = tmp_path / "containerd.sock"
    monkeypatch.setattr(container_runtime, "CRI", f"unix://{path}")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert container_runtime.findings() == []
    path.touch()
    (found,) = container_runtime.findings()
    assert (found.level, "--runtime cri is not possible: the runtime at" in found.what) == ("note", True)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    (found,) = container_runtime.findings()
    assert (found.level, found.mend) == ("note", "sampan up --runtime cri")
