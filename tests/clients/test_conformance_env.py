"""T3: commands and environment variables of real containers; each test names its lines in docs/conformance.md."""

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from sampan.node.images import archive
from tests.clients import pods
from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import Tree, container, create, outputs, pod, pod_of, thing, variable, waits_with

pytestmark = [needs_root, pytest.mark.root]

SOURCES = [
    {**thing("ConfigMap", "c"), "data": {"data-1": "one", "data.2": "two", "DATA_3": "three", "4data": "four"}},
    {**thing("Secret", "s"), "stringData": {"data-1": "uno", "data.2": "dos", "DATA_3": "tres", "4data": "cuatro"}},
]
PREFIXES = ("", "p_", "p-", "p.", "1", "$ %_")


def archived(directory: Path, tag: str, root: Path) -> Path:
    """An image with an entry point and arguments, as `docker save` writes one."""
    layer, config = directory / "layer.tar", directory / "config.json"
    with tarfile.open(layer, "w") as tar:
        tar.add(root, ".")
    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    program = {"Entrypoint": ["/bin/echo", "image-program"], "Cmd": ["image-arguments"]}
    files = {"type": "layers", "diff_ids": [f"sha256:{digest}"]}
    config.write_text(
        json.dumps({"architecture": archive.architecture(), "os": "linux", "config": program, "rootfs": files})
    )
    manifest = directory / "manifest.json"
    manifest.write_text(json.dumps([{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]))
    with tarfile.open(directory / "image.tar", "w") as tar:
        for file in (manifest, config, layer):
            tar.add(file, file.name)
    return directory / "image.tar"


def test_the_images_command_and_the_pods(cluster: Cluster, ns: str, tmp_path: Path) -> None:
    """253-256: arguments replace the image's, a command replaces both; with neither the image's run."""
    root = cluster.directory.parent / "busybox"
    cluster.sampan("image", "load", str(archived(tmp_path, "entry:1", root)))
    command, arguments = {"command": ["/bin/echo", "own"]}, {"args": ["own-arguments"]}
    ways: dict[str, Tree] = {"blank": {}, "args": arguments, "command": command, "both": {**command, **arguments}}
    found = outputs(cluster, pod("p", *({"name": name, "image": "entry:1", **way} for name, way in ways.items())))
    assert found == {
        "p/blank": ["image-program image-arguments"],
        "p/args": ["image-program own-arguments"],
        "p/command": ["own"],
        "p/both": ["own own-arguments"],
    }


def test_variables_of_config_maps_and_secrets(cluster: Cluster, ns: str) -> None:
    """238-240, 319-321: one by one, all of them, and under prefixes that no shell would take."""

    def printing(name: str, kind: str) -> Tree:
        single = [{"name": "ONE", "valueFrom": {f"{kind}KeyRef": {"name": name, "key": "data-1"}}}]
        many = [{"prefix": prefix, f"{kind}Ref": {"name": name}} for prefix in PREFIXES]
        return {"name": kind.lower(), "image": "busybox:1.36", "command": ["env"], "env": single, "envFrom": many}

    found = outputs(cluster, *SOURCES, pod("p", printing("c", "configMap"), printing("s", "secret")))
    for name, words in (("configmap", "one two three four"), ("secret", "uno dos tres cuatro")):
        lines = set(found[f"p/{name}"])
        keys = ("data-1", "data.2", "DATA_3", "4data")
        expected = {f"{p}{key}={word}" for p in PREFIXES for key, word in zip(keys, words.split(), strict=True)}
        assert expected <= lines, expected - lines
        assert f"ONE={words.split()[0]}" in lines


def resource(name: str, which: str) -> Tree:
    return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": which}}}


def test_variables_of_the_pod(cluster: Cluster, ns: str) -> None:
    """257-262: its name, namespace, addresses, host, identity; its limits, which default to what the node has."""
    fields = {
        "NAME": "metadata.name", "NS": "metadata.namespace", "UID_": "metadata.uid", "IP": "status.podIP",
        "IPS": "status.podIPs", "HOST": "status.hostIP", "HOSTS": "status.hostIPs", "NODE": "spec.nodeName",
        "ACCOUNT": "spec.serviceAccountName", "LABEL": "metadata.labels['colour']", "NOTE": "metadata.annotations['n']",
    }  # fmt: skip
    env = [variable(name, path) for name, path in fields.items()]
    bounds = [
        resource(name, which)
        for name, which in zip("ABCD", ("limits.cpu", "limits.memory", "requests.cpu", "requests.memory"), strict=True)
    ]
    script = 'echo "$A $B $C $D"'
    given = {"limits": {"cpu": "1250m", "memory": "64Mi"}, "requests": {"cpu": "250m", "memory": "32Mi"}}
    told = container('echo "$NAME $NS $UID_ $NODE $ACCOUNT $LABEL $NOTE"; echo "$IP $IPS $HOST $HOSTS"', env=env)
    limited = container(script, "limited", env=bounds, resources=given)
    free = container(script, "free", env=bounds[:2])
    described = {"labels": {"colour": "red"}, "annotations": {"n": "note"}}
    found = outputs(cluster, pod_of(described, "p", told, limited, free))
    made, node = cluster.get("pod", "p"), cluster.get("nodes")["items"][0]
    name = node["metadata"]["name"]
    assert found["p/main"][0] == f"p {ns} {made['metadata']['uid']} {name} default red note"
    own, host = made["status"]["podIP"], made["status"]["hostIP"]
    assert found["p/main"][1] == f"{own} {own} {host} {host}"
    assert found["p/limited"] == [f"2 {64 << 20} 1 {32 << 20}"]
    cpu, memory = node["status"]["allocatable"]["cpu"], node["status"]["allocatable"]["memory"]
    assert found["p/free"] == [f"{cpu} {int(memory.removesuffix('Ki')) << 10}  "]


def test_variables_within_variables(cluster: Cluster, ns: str) -> None:
    """332-334: in other variables, in the command, in its arguments."""
    env = [
        {"name": "FOO", "value": "foo-value"},
        {"name": "BAR", "value": "bar-value"},
        {"name": "BOTH", "value": "$(FOO);;$(BAR);;$(LATER);;$$(FOO)"},
        {"name": "LATER", "value": "x"},
    ]
    composed = {**container("", "composed", env=env), "command": ["sh", "-c", 'echo "$BOTH"']}
    in_command = {**container("", "command", env=env), "command": ["echo", "$(FOO)", "$(NOBODY)", "$$(FOO)"]}
    in_args = {**container("", "args", env=env), "command": ["echo"], "args": ["$(FOO)", "$(BOTH)"]}
    found = outputs(cluster, pod("p", composed, in_command, in_args))
    assert found == {
        "p/composed": ["foo-value;;bar-value;;$(LATER);;$(FOO)"],
        "p/command": ["foo-value $(NOBODY) $(FOO)"],
        "p/args": ["foo-value foo-value;;bar-value;;$(LATER);;$(FOO)"],
    }


def test_variables_of_services(cluster: Cluster, ns: str) -> None:
    """296: the services that were there before the pod; those of the API in any case."""
    ports = [{"name": "web", "port": 8765, "targetPort": 8080}]
    create(cluster, {**thing("Service", "foo-service"), "spec": {"selector": {"no": "body"}, "ports": ports}})
    address = cluster.get("service", "foo-service")["spec"]["clusterIP"]
    plain = {"name": "main", "image": "busybox:1.36", "command": ["env"]}
    found = outputs(cluster, pod("p", plain), pod("without", plain, enableServiceLinks=False))
    assert {
        f"FOO_SERVICE_SERVICE_HOST={address}",
        "FOO_SERVICE_SERVICE_PORT=8765",
        "FOO_SERVICE_SERVICE_PORT_WEB=8765",
        f"FOO_SERVICE_PORT=tcp://{address}:8765",
        f"FOO_SERVICE_PORT_8765_TCP=tcp://{address}:8765",
        "FOO_SERVICE_PORT_8765_TCP_PROTO=tcp",
        "FOO_SERVICE_PORT_8765_TCP_PORT=8765",
        f"FOO_SERVICE_PORT_8765_TCP_ADDR={address}",
    } <= set(found["p/main"])
    names = {line.partition("=")[0] for line in found["without/main"]}
    assert {"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"} <= names
    assert not any(name.startswith("FOO") for name in names)


E_MOUNT = {"name": "e", "mountPath": "/sub"}


def test_paths_of_variables(cluster: Cluster, ns: str) -> None:
    """335-339: a subPathExpr that is a name, one that leads out, one that no shell must see, and one that is mended."""
    volume = [{"name": "e", "emptyDir": {}}]

    def mounting(script: str, expression: str, *env: Tree) -> Tree:
        mounts = [{**E_MOUNT, "subPathExpr": expression}, pods.mount("e", "/whole")]
        return container(script, env=list(env), volumeMounts=mounts)

    name, note = variable("POD_NAME", "metadata.name"), variable("NOTE", "metadata.annotations['path']")
    write = mounting("echo text > /sub/f; cat /whole/foo/named/f", "foo/$(POD_NAME)", name)
    out = mounting("true", "$(POD_NAME)", {"name": "POD_NAME", "value": "/tmp"})
    up = mounting("true", "$(POD_NAME)", {"name": "POD_NAME", "value": ".."})
    ticks = mounting("cd /whole; ls", "$(POD_NAME)", {"name": "POD_NAME", "value": "`id`"})
    nothing = mounting("true", "$(ABSENT)", name)
    later = mounting("test -d /whole/now; echo $?", "$(NOTE)", note)
    absolute = {"annotations": {"path": "/absolute"}}
    create(
        cluster,
        pod("named", write, volumes=volume),
        pod("out", out, volumes=volume),
        pod("up", up, volumes=volume),
        pod("ticks", ticks, volumes=volume),
        pod("nothing", nothing, volumes=volume),
        pod_of(absolute, "later", later, volumes=volume),
    )
    reason = "CreateContainerConfigError"
    assert waits_with(cluster, "out") == (reason, "error SubPath `/tmp` must not be an absolute path")
    assert waits_with(cluster, "up") == (reason, "unable to provision SubPath `..`: must not contain '..'")
    assert waits_with(cluster, "nothing") == (reason, "missing value for ABSENT")
    assert waits_with(cluster, "later") == (reason, "error SubPath `/absolute` must not be an absolute path")
    cluster.kubectl("annotate", "--overwrite", "pod", "later", "path=now")
    pods.wait(cluster, pods.SUCCEEDED, "named", "ticks", "later")
    found = pods.said(cluster, "named", "ticks", "later")
    assert (found["named/main"], found["later/main"], found["ticks/main"]) == (["text"], ["0"], ["`id`"])
