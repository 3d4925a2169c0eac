"""Images from a registry: pulled for pods, with and without logins, pushed and pruned by the command line."""

import base64
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.clients.conftest import Cluster, needs_root, pod
from tests.ports import free_port

pytestmark = [needs_root, pytest.mark.root]

USER, WORD = "someone", "pass:word"
HASH = "$2b$04$2E2K2oW4CpMRL3D9gYElXOpSPVcWdM0ZUy69dZuSthXtvLdA/wYjC"


@pytest.fixture(params=["open", "closed"])
def registry(request: pytest.FixtureRequest, tmp_path: Path, cluster: Cluster) -> Iterator[tuple[str, dict[str, str]]]:
    """Debian's registry on loopback, for everybody or with a login; its address and the login's file."""
    address = f"127.0.0.1:{free_port()}"
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "store")}, "delete": {"enabled": True}},
        "http": {"addr": address},
    }
    logins = {}
    if request.param == "closed":
        (tmp_path / "htpasswd").write_text(f"{USER}:{HASH}\n")
        config["auth"] = {"htpasswd": {"realm": "here", "path": str(tmp_path / "htpasswd")}}
        logins = {"auths": {address: {"auth": base64.b64encode(f"{USER}:{WORD}".encode()).decode()}}}
    (tmp_path / "config.yml").write_text(json.dumps(config))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(tmp_path / "config.yml")], stdout=log, stderr=log, env=cluster.environment
        )
    try:
        cluster.until("the registry listens", lambda: b"listening on" in (tmp_path / "log").read_bytes())
        (tmp_path / "logins.json").write_text(json.dumps(logins))
        yield address, logins
    finally:
        process.kill()
        process.wait()


def test_pods_run_what_was_pushed(
    cluster: Cluster, ns: str, registry: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    """Pushed, removed here, pulled for a pod (by name and by digest), pruned."""
    address, logins = registry
    name, mine = f"{address}/team/box:v1", ("--auth-file", str(tmp_path / "logins.json"))
    pushed = cluster.sampan("image", "push", "busybox:1.36", name, *mine).splitlines()
    assert pushed[0] == f"pushed {name}"
    try:
        script = pod("p", "echo hello", "").replace("busybox:1.36", name)
        if logins:
            denied = script.replace("name: p,", "name: denied,")
            cluster.kubectl("apply", "-f", "-", stdin=denied)
            cluster.until("it is denied", lambda: "pull access denied" in cluster.kubectl("describe", "pod", "denied"))
            config = tmp_path / "logins.json"
            cluster.kubectl("create", "secret", "docker-registry", "key", f"--from-file=.dockerconfigjson={config}")
            script = script.replace("spec:", "spec:\n  imagePullSecrets: [{name: key}]")
        cluster.kubectl("apply", "-f", "-", stdin=script)
        cluster.kubectl("wait", "pod/p", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
        assert cluster.kubectl("logs", "p") == "hello\n"
        told = cluster.kubectl("events", "--for", "pod/p")
        assert f'Pulling image "{name}"' in told
        assert f'Successfully pulled image "{name}" in ' in told
        status = cluster.get("pod", "p")["status"]["containerStatuses"][0]
        assert (status["image"], status["imageID"]) == (name, f"{address}/team/box@{pushed[1]}")
        cluster.kubectl("delete", "pod", "--all")
        assert f"removed {name}" in cluster.sampan("image", "rm", name)
        assert cluster.sampan("image", "pull", status["imageID"], *mine).startswith(f"pulled {status['imageID']} (")
    finally:
        cluster.sampan("image", "rm", name, check=False)
        cluster.sampan("image", "rm", f"{address}/team/box@{pushed[1]}", check=False)
    assert "busybox:1.36" in cluster.sampan("image", "list")


PROGRAM = """#!/bin/sh
read request
echo "$request" | grep -q "$1" || exit 1
echo '{"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse",
  "cacheKeyType": "Registry", "auth": {"ADDRESS": {"username": "someone", "password": "pass:word"}}}'
"""
PROVIDERS = """
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: login
  matchImages: ["127.0.0.*:PORT"]
  defaultCacheDuration: 1m
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  args: ['"serviceAccountToken":"ey.*"serviceAccountAnnotations":.*"team":"a"']
  tokenAttributes:
    serviceAccountTokenAudience: registry
    cacheType: ServiceAccount
    requireServiceAccount: true
    requiredServiceAccountAnnotationKeys: [team]
"""
AUDIENCE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: image-tokens}
rules: [{apiGroups: [""], resources: [registry], verbs: [request-serviceaccounts-token-audience]}]
"""


@pytest.mark.parametrize("registry", ["closed"], indirect=True)
def test_an_image_is_for_those_who_have_its_credentials(
    cluster: Cluster, ns: str, registry: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    """Not for pods that come later without; the same login in another secret will do, or what a program gives."""
    address, _ = registry
    name, config = f"{address}/team/box:v1", tmp_path / "logins.json"
    pushed = cluster.sampan("image", "push", "busybox:1.36", name, "--auth-file", str(config)).splitlines()
    program, file = (
        cluster.directory / "credential-providers" / "login",
        cluster.directory / "credential-providers.yaml",
    )

    def made(pod_name: str, secret: str = "", policy: str = "IfNotPresent") -> str:
        script = pod(pod_name, "true", "").replace("busybox:1.36", f"{name}\n    imagePullPolicy: {policy}")
        return script.replace("spec:", f"spec:\n  imagePullSecrets: [{{name: {secret}}}]") if secret else script

    def phase(pod_name: str, wanted: str) -> None:
        cluster.kubectl("wait", f"pod/{pod_name}", f"--for=jsonpath={{.status.phase}}={wanted}", "--timeout=60s")

    try:
        for secret in ("one", "two"):
            cluster.kubectl("create", "secret", "docker-registry", secret, f"--from-file=.dockerconfigjson={config}")
        cluster.kubectl("apply", "-f", "-", stdin=made("first", "one"))
        phase("first", "Succeeded")
        others = "---".join((made("without"), made("never", policy="Never"), made("other", "two")))
        cluster.kubectl("apply", "-f", "-", stdin=others)
        phase("other", "Succeeded")
        told = cluster.kubectl("events", "--for", "pod/other")
        assert f'Container image "{name}" already present on machine and can be accessed by the pod' in told
        cluster.until("it is denied", lambda: "pull access denied" in cluster.kubectl("describe", "pod", "without"))
        cluster.until("it is refused", lambda: "ErrImageNeverPull" in cluster.kubectl("get", "pod", "never"))
        program.parent.mkdir()
        program.write_text(PROGRAM.replace("ADDRESS", address))
        program.chmod(0o755)
        file.write_text(PROVIDERS.replace("PORT", address.partition(":")[2]))
        cluster.kubectl("apply", "-f", "-", stdin=AUDIENCE)
        cluster.kubectl(
            "create", "clusterrolebinding", "image-tokens", "--clusterrole=image-tokens", "--group=system:nodes"
        )
        restart_agent(cluster)
        cluster.kubectl("delete", "pod", "without", "never")
        cluster.kubectl("annotate", "serviceaccount", "default", "team=a")
        cluster.kubectl("apply", "-f", "-", stdin=made("given"))
        phase("given", "Succeeded")
        assert f'Successfully pulled image "{name}" in ' in cluster.kubectl("events", "--for", "pod/given")
        cluster.kubectl("delete", "pod", "--all")
    finally:
        file.unlink(missing_ok=True)
        cluster.run("kubectl", "delete", "clusterrolebinding,clusterrole", "image-tokens", check=False)
        cluster.sampan("image", "rm", name, check=False)
        cluster.sampan("image", "rm", f"{address}/team/box@{pushed[1]}", check=False)
        restart_agent(cluster)


def restart_agent(cluster: Cluster) -> None:
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    os.kill(cluster.pid(f"node-{node}"), signal.SIGKILL)
    cluster.sampan("up", "--kubeconfig", str(cluster.kubeconfig), "--yes")


def test_what_is_nowhere_is_said(cluster: Cluster, ns: str) -> None:
    """As the pod's waiting reason, with back-off, and by the command line."""
    name = f"127.0.0.1:{free_port()}/nothing:v1"
    cluster.kubectl("apply", "-f", "-", stdin=pod("p", "true").replace("busybox:1.36", name))
    cluster.kubectl(
        "wait",
        "pod/p",
        "--timeout=60s",
        "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff",
    )
    described = cluster.kubectl("describe", "pod", "p")
    why = f'failed to pull and unpack image "{name}": failed to resolve reference "{name}": failed to do request: '
    assert f'Failed to pull image "{name}": {why}' in described
    assert "connection refused" in described
    assert "Error: ErrImagePull" in described
    where = ("--name", cluster.name, "--data-dir", str(cluster.directory))
    refused = cluster.run("sampan", "image", "pull", name, *where, check=False)
    assert (refused.returncode, refused.stderr.startswith(f"sampan image: {why}")) == (1, True)


def test_an_image_as_a_volume(cluster: Cluster, ns: str) -> None:
    """Its files can be read, whole or a part of them, and neither written nor run."""
    script = "exec 2>&1; cat /img/etc/passwd | head -1; cat /one/group; touch /img/x; /img/bin/busybox true; echo $?; sleep 1000"
    mounts = [
        {"name": "files", "mountPath": "/img"},
        {"name": "files", "mountPath": "/one", "subPath": "etc"},
    ]
    volume = {"name": "files", "image": {"reference": "busybox:1.36", "pullPolicy": "IfNotPresent"}}
    manifest = yaml.safe_load(pod("p", script))
    manifest["spec"]["volumes"] = [volume]
    manifest["spec"]["containers"][0]["volumeMounts"] = mounts
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    cluster.kubectl("wait", "pod/p", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
    said = cluster.until(
        "all lines", lambda: (cluster.kubectl("logs", "p").splitlines() + [""] * 5)[4] and cluster.kubectl("logs", "p")
    )
    assert said.splitlines()[0] == "root:x:0:0:root:/root:/bin/sh"
    assert "root:x:0:" in said
    assert "touch: /img/x: Read-only file system" in said
    assert "Permission denied" in said
    assert said.splitlines()[-1] == "126"
    volume["image"]["reference"] = "127.0.0.1:1/nothing:v1"
    manifest["metadata"]["name"] = "q"
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    cluster.kubectl("wait", "pod/q", f"--for=jsonpath={reason}=ImagePullBackOff", "--timeout=60s")
    assert 'Failed to pull image "127.0.0.1:1/nothing:v1"' in cluster.kubectl("describe", "pod", "q")
    cluster.kubectl("delete", "pod", "p", "q", "--timeout=60s")
