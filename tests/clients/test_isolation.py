"""Pods under other runtimes, with users of their own, with common processes: asked for by kubectl, and looked into."""

import json
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from sampan.node.runtime import apparmor
from tests.clients import pods
from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import Tree, container, create, events, mount, pod, said, status, wait
from tests.kernel import HAS_CPUSETS, needs_users

pytestmark = [needs_root, pytest.mark.root]

WAITS = "while :; do sleep 0.05; done"
LOOK = "until test -s /e/pid; do sleep 0.05; done; ps; cat /proc/1/cmdline; kill -TERM $(cat /e/pid)"


def runs(program: str) -> bool:
    """Whether it is here, with all that it needs itself."""
    path = shutil.which(program)
    return path is not None and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0


def runtime_class(name: str, handler: str, **more: Tree) -> Tree:
    metadata = {"name": name}
    return {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": metadata, "handler": handler, **more}


@needs_users
def test_users_of_its_own(cluster: Cluster, ns: str) -> None:
    """Root in the pod is not the host's; its volumes, its Secrets, its ports and its files are all the same its own."""
    cluster.kubectl("create", "secret", "generic", "s", "--from-literal=k=v")
    script = (
        "head -1 /proc/self/uid_map; id -u; cat /s/k; echo x > /e/x; stat -c %u /e/x; ping -c1 127.0.0.1 | grep -c ' 0%';"
        " hostname > /etc/own; nslookup kubernetes.default.svc.cluster.local | grep -c Address; echo -n done > /dev/termination-log;"
        " cat /proc/sys/kernel/ostype; (echo hi | nc -l -p 80 &) ; sleep 0.2; nc 127.0.0.1 80 < /dev/null"
    )
    volumes = [{"name": "s", "secret": {"secretName": "s"}}, {"name": "e", "emptyDir": {}}]
    mounts = {"volumeMounts": [mount("s", "/s"), mount("e", "/e")]}
    unmasked = {"securityContext": {"procMount": "Unmasked"}}
    proc = "grep -c ' /proc/' /proc/self/mounts; true"
    create(
        cluster,
        pod("own", container(script, **mounts), volumes=volumes, hostUsers=False),
        pod("bare", container(proc, **unmasked), container(proc, "masked"), hostUsers=False),
        pod(
            "odd",
            container("true", volumeMounts=[mount("p", "/p")]),
            hostUsers=False,
            volumes=[{"name": "p", "hostPath": {"path": "/proc/sys"}}],
        ),
    )
    wait(cluster, pods.SUCCEEDED, "own", "bare")
    lines = said(cluster, "own", "bare")
    own = lines["own/main"]
    assert own[0].split()[0] == "0" != own[0].split()[1]
    assert own[0].split()[2] == "65536"
    assert own[1:5] == ["0", "v0", "1", own[4]] or own[1:4] == ["0", "v0", "1"]
    assert own[-1] == "hi"
    ended = status(cluster, "own")["containerStatuses"][0]["state"]["terminated"]
    assert ended["message"] == "done"
    assert lines["bare/main"] == ["0"]
    assert int(lines["bare/masked"][0]) > 0
    assert "failed to set MOUNT_ATTR_IDMAP on /proc/sys" in pods.waits_with(cluster, "odd")[1]
    (node,) = cluster.get("nodes")["items"]
    handlers = {each["name"]: each["features"] for each in node["status"]["runtimeHandlers"]}
    assert handlers[""] == {"recursiveReadOnlyMounts": True, "userNamespaces": True}
    assert node["status"]["features"] == {"supplementalGroupsPolicy": True}


def test_common_processes(cluster: Cluster, ns: str) -> None:
    """Containers see and signal each other's; a container that restarts does not disturb the others."""
    shared = {"volumeMounts": [mount("e", "/e")]}
    told = f"trap 'exit 0' TERM; echo $$$$ > /e/pid; {WAITS}"
    create(
        cluster,
        pod(
            "common",
            container(told, "told", **shared),
            container(LOOK, "looks", **shared),
            container("sleep 0.1; exit 1", "again"),
            volumes=[{"name": "e", "emptyDir": {}}],
            shareProcessNamespace=True,
        ),
    )
    wait(cluster, "jsonpath={.status.phase}=Failed", "common")
    lines = said(cluster, "common")["common/looks"]
    assert lines[-1].rstrip("\0") == "/pause"
    assert any("trap 'exit 0' TERM" in line for line in lines)
    keepers = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _text(path) == "/pause\0"]
    uid = cluster.get("pod", "common")["metadata"]["uid"]
    assert not [path for path in keepers if uid in _text(path.parent / "cgroup")]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def test_other_runtimes(cluster: Cluster, ns: str) -> None:
    """A RuntimeClass picks the runtime; its overhead is the pod's; one that isn't there is said, and so is what can't be."""
    overhead = {"overhead": {"podFixed": {"memory": "64Mi", "cpu": "250m"}}}
    classes = [runtime_class("i-runc", "runc", **overhead), runtime_class("i-odd", "odd")]
    classes += [runtime_class(f"i-{name}", name) for name in ("runsc", "crun") if runs(name)]
    limits = {"resources": {"limits": {"memory": "32Mi", "cpu": "100m"}}}
    try:
        create(
            cluster,
            *classes,
            pod("costs", container(pods.FOREVER, **limits), runtimeClassName="i-runc"),
            pod("odd", container(), runtimeClassName="i-odd"),
        )
        if runs("runsc") and HAS_CPUSETS:
            ask = r"(printf 'GET /x HTTP/1.0\r\n\r\n'; sleep 0.2) | nc 127.0.0.1 8000 2>/dev/null | grep served"
            script = f"uname -r; dmesg | head -1; trap 'exit 5' TERM; until {ask}; do sleep 0.1; done; {WAITS}"
            serve = "mkdir /w; echo served > /w/x; httpd -f -p 8000 -h /w"
            create(cluster, pod("deep", container(script), container(serve, "web"), runtimeClassName="i-runsc"))
        wait(cluster, pods.READY, "costs")
        _pays(cluster, "costs")
        text = cluster.until("it is said", lambda: events(cluster, "odd", "FailedCreatePodSandBox"))
        why = 'rpc error: code = Unknown desc = failed to get sandbox runtime: no runtime for "odd" is configured'
        assert text == [f"Failed to create pod sandbox: {why}"]
        if runs("runsc") and HAS_CPUSETS:
            _another_kernel(cluster)
        if runs("crun") and Path("/sys/fs/cgroup/unified").exists():
            create(cluster, pod("mixed", container(), runtimeClassName="i-crun"))
            text = cluster.until("it is said", lambda: events(cluster, "mixed", "Failed"))
            assert "OCI runtime create failed: " in text[0]
            assert "hybrid" in text[0]
    finally:
        cluster.kubectl("delete", "runtimeclass", *(each["metadata"]["name"] for each in classes))


def _pays(cluster: Cluster, name: str) -> None:
    """The pod's cgroup has what the container may use, and the overhead."""
    uid = cluster.get("pod", name)["metadata"]["uid"]
    found = list(Path("/sys/fs/cgroup").rglob(f"pod{uid}/memory.limit_in_bytes"))
    found += Path("/sys/fs/cgroup").rglob(f"pod{uid}/memory.max")
    assert [int(path.read_text()) for path in found] == [96 << 20]


def _another_kernel(cluster: Cluster) -> None:
    wait(cluster, pods.READY, "deep")
    lines = cluster.until("it has looked", lambda: (found := said(cluster, "deep")["deep/main"])[2:] and found)
    assert lines[0] != platform.release()
    assert "gVisor" in lines[1]
    assert lines[2] == "served"
    assert "gVisor" in cluster.kubectl("exec", "deep", "-c", "web", "--", "dmesg")
    cluster.kubectl("exec", "deep", "-c", "main", "--", "sh", "-c", "kill -TERM 1")
    cluster.until("it has ended", lambda: json.dumps(status(cluster, "deep")).count('"exitCode": 5'))


def test_apparmor(cluster: Cluster, ns: str) -> None:
    """Where the kernel has it, containers have the default profile unless they say otherwise; elsewhere who asks is turned away."""
    script = "cat /proc/self/attr/current; mount -t tmpfs x /home 2>/dev/null || echo denied"
    default = {"appArmorProfile": {"type": "RuntimeDefault"}}
    more = {"capabilities": {"add": ["SYS_ADMIN"]}}
    if not apparmor.is_enabled():
        create(cluster, pod("asks", container(), securityContext=default))
        wait(cluster, "jsonpath={.status.phase}=Failed", "asks")
        found = status(cluster, "asks")
        assert found["reason"] == "AppArmor"
        assert found["message"].endswith("Cannot enforce AppArmor: AppArmor is not enabled on the host")
        return
    loose = {"appArmorProfile": {"type": "Unconfined"}, **more}
    create(
        cluster,
        pod("plain", container(script, securityContext=more)),
        pod("asks", container(script, securityContext=more), securityContext=default),
        pod("loose", container(script, securityContext=loose)),
        pod("privileged", container(script, securityContext={"privileged": True})),
        pod(
            "lost",
            container(script, securityContext={"appArmorProfile": {"type": "Localhost", "localhostProfile": "no"}}),
        ),
    )
    wait(cluster, pods.SUCCEEDED, "plain", "asks", "loose", "privileged")
    lines = said(cluster, "plain", "asks", "loose", "privileged")
    assert lines["plain/main"] == lines["asks/main"] == ["sampan-default (enforce)", "denied"]
    assert lines["loose/main"] == lines["privileged/main"] == ["unconfined"]
    message = cluster.until("it is refused", lambda: _not_created(cluster, "lost"))
    assert message.endswith("apparmor profile not found no")


def _not_created(cluster: Cluster, name: str) -> str:
    """Why the pod's container could not be made."""
    states = [each["state"].get("waiting", {}) for each in status(cluster, name).get("containerStatuses", [])]
    return "".join(state.get("message", "") for state in states if state.get("reason") == "CreateContainerError")
