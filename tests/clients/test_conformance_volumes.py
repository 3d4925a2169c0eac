"""T3: what real containers find in their volumes; each test names its lines in docs/conformance.md."""

import base64
import json
from itertools import product

import pytest

from tests.clients import pods
from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import Tree, container, create, mount, outputs, pod, pod_of, thing

pytestmark = [needs_root, pytest.mark.root]

TEXTS = {"data-1": "value-1", "data-2": "value-2", "data-3": "value-3"}
SOURCES = [
    {**thing("ConfigMap", "c"), "data": TEXTS},
    {**thing("Secret", "s"), "stringData": TEXTS},
]
MAPPED = [{"key": "data-2", "path": "path/to/data-2"}]
WITH_MODE = [{"key": "data-2", "path": "path/to/data-2", "mode": 0o400}]
NAMES = {"configMap": ("name", "c"), "secret": ("secretName", "s")}
KINDS = ("configMap", "secret", "projected configMap", "projected secret")


def volume(name: str, kind: str, items: list[Tree] | None = None, mode: int | None = None, **more: str) -> Tree:
    """A volume of a ConfigMap or Secret, on its own or projected."""
    chosen = {"items": items} if items else {}
    default = {"defaultMode": mode} if mode else {}
    plain = kind.removeprefix("projected ")
    field, source = NAMES[plain]
    source = more.get("source", source)
    if plain == kind:
        return {"name": name, kind: {field: source, **chosen, **default}}
    return {"name": name, "projected": {"sources": [{plain: {"name": source, **chosen}}], **default}}


def shown(path: str) -> str:
    """Prints a file's mode, owner's group and text."""
    return f'echo "$(stat -L -c "%a %g" {path}) $(cat {path})"'


def reading(kind: str, mode: int | None) -> Tree:
    """A container that reads every shape of the kind's volumes; `mode` is the one for files with a mode."""
    scripts = [shown("/plain/data-1"), shown("/again/data-1"), shown("/mapped/path/to/data-2")]
    scripts += [shown("/item/path/to/data-2"), shown("/mode/data-1")] if mode else []
    names = ("plain", "again", "mapped", "item", "mode")
    mounts = [mount(f"{kind.replace(' ', '').lower()}-{name}", f"/{name}", readOnly=True) for name in names]
    return container("; ".join(scripts), kind.replace(" ", "").lower(), volumeMounts=mounts)


def volumes_of(kind: str, mode: int) -> list[Tree]:
    prefix = kind.replace(" ", "").lower()
    return [
        volume(f"{prefix}-plain", kind),
        volume(f"{prefix}-again", kind),
        volume(f"{prefix}-mapped", kind, MAPPED),
        volume(f"{prefix}-item", kind, WITH_MODE),
        volume(f"{prefix}-mode", kind, mode=mode),
    ]


def test_texts_in_files(cluster: Cluster, ns: str) -> None:
    """361-367, 402-408, 422-427, 429-435: by root and by others, mapped, with modes, twice; a namesake elsewhere."""
    other = f"{ns}-2"
    cluster.kubectl("create", "namespace", other)
    cluster.kubectl("create", "secret", "generic", "s", "--from-literal=data-1=elsewhere", "-n", other)
    for_root = [each for kind in KINDS for each in volumes_of(kind, 0o400)]
    for_user = [each for kind in KINDS for each in volumes_of(kind, 0o440)]
    user = {"runAsUser": 1000, "fsGroup": 1001}
    found = outputs(
        cluster,
        *SOURCES,
        pod("root", *(reading(kind, 0o400) for kind in KINDS), volumes=for_root),
        pod("user", *(reading(kind, None) for kind in KINDS), volumes=for_user, securityContext={"runAsUser": 1000}),
        pod("group", *(reading(kind, 0o440) for kind in KINDS), volumes=for_user, securityContext=user),
    )
    cluster.kubectl("delete", "namespace", other, "--wait=false")
    for kind in (kind.replace(" ", "").lower() for kind in KINDS):
        assert found[f"root/{kind}"] == [
            "644 0 value-1", "644 0 value-1", "644 0 value-2", "400 0 value-2", "400 0 value-1"
        ], kind  # fmt: skip
        assert found[f"user/{kind}"] == ["644 0 value-1", "644 0 value-1", "644 0 value-2"], kind
        assert found[f"group/{kind}"] == [
            "644 1001 value-1", "644 1001 value-1", "644 1001 value-2", "440 1001 value-2", "440 1001 value-1"
        ], kind  # fmt: skip


def downward(*items: Tree, mode: int | None = None, projected: bool = False) -> Tree:
    default = {"defaultMode": mode} if mode else {}
    if projected:
        return {"projected": {"sources": [{"downwardAPI": {"items": list(items)}}], **default}}
    return {"downwardAPI": {"items": list(items), **default}}


def field(path: str, key: str, **more: int) -> Tree:
    return {"path": path, "fieldRef": {"fieldPath": key}, **more}


def resource(path: str, name: str, which: str, divisor: str = "0") -> Tree:
    reference = {"containerName": name, "resource": which, "divisor": divisor}
    return {"path": path, "resourceFieldRef": reference}


@pytest.mark.parametrize("projected", [False, True], ids=["downward", "projected"])
def test_the_pod_in_files(cluster: Cluster, ns: str, projected: bool) -> None:
    """370-378, 410-418: limits and requests, the node's where there are none; its name; modes."""
    bounds = [("limits.cpu", "1m"), ("limits.memory", "1Ki"), ("requests.cpu", "1m"), ("requests.memory", "1Ki")]
    items = [resource(f"main/{which}", "main", which, divisor) for which, divisor in bounds]
    items += [resource(f"free/{which}", "free", which) for which, _ in bounds[:2]]
    given = {"limits": {"cpu": "1250m", "memory": "64Mi"}, "requests": {"cpu": "250m", "memory": "32Mi"}}
    files = [f"/d/main/{which}" for which, _ in bounds] + [f"/d/free/{which}" for which, _ in bounds[:2]]
    script = "; ".join(shown(f) for f in [*files, "/d/podname", "/d/secretly", "/m/podname"])
    volumes = [
        {"name": "d", **downward(*items, field("podname", "metadata.name"),
                                 field("secretly", "metadata.name", mode=0o400), projected=projected)},
        {"name": "m", **downward(field("podname", "metadata.name"), mode=0o400, projected=projected)},
    ]  # fmt: skip
    main = container(script, resources=given, volumeMounts=[mount("d", "/d"), mount("m", "/m")])
    found = outputs(cluster, pod("p", main, container("true", "free"), volumes=volumes))
    allocatable = cluster.get("nodes")["items"][0]["status"]["allocatable"]
    memory = int(allocatable["memory"].removesuffix("Ki")) << 10
    assert found["p/main"] == [
        "644 0 1250", f"644 0 {64 << 10}", "644 0 250", f"644 0 {32 << 10}",
        f"644 0 {allocatable['cpu']}", f"644 0 {memory}", "644 0 p", "400 0 p", "400 0 p",
    ]  # fmt: skip


def updated(cluster: Cluster, kind: str, prefix: str) -> list[Tree]:
    """Volumes of things that change, go and come; each is optional."""
    plain = kind.removeprefix("projected ")
    name, _ = NAMES[plain]
    found = []
    for what in ("changes", "goes", "comes"):
        if kind == plain:
            found.append({"name": f"{prefix}-{what}", kind: {name: what, "optional": True}})
        else:
            found.append(
                {"name": f"{prefix}-{what}", "projected": {"sources": [{plain: {"name": what, "optional": True}}]}}
            )
    return found


def test_changes_arrive(cluster: Cluster, ns: str) -> None:
    """359, 360, 369, 379, 380, 401, 409, 419-421, 428: of texts and bytes, of what goes and comes, of labels and notes."""
    raw = {"binaryData": {"bytes": base64.b64encode(bytes([0xDE, 0xCA, 0xFE, 0])).decode()}}
    for kind, data in (("ConfigMap", "data"), ("Secret", "stringData")):
        create(cluster, *({**thing(kind, what), data: {"k": "old"}} for what in ("changes", "goes")))
    cluster.kubectl("patch", "configmap", "changes", "-p", json.dumps(raw))
    prefixes = {kind: f"v{n}" for n, kind in enumerate(KINDS)}
    volumes = [each for kind, prefix in prefixes.items() for each in updated(cluster, kind, prefix)]
    items = [field("labels", "metadata.labels"), field("notes", "metadata.annotations")]
    volumes += [{"name": f"d{n}", **downward(*items, projected=bool(n))} for n in (0, 1)]
    mounts = [mount(each["name"], f"/{each['name']}") for each in volumes]
    described = {"labels": {"key": "old"}, "annotations": {"builder": "bar"}}
    create(cluster, pod_of(described, "p", container(volumeMounts=mounts), volumes=volumes))
    pods.wait(cluster, pods.READY, "p")

    def files() -> dict[str, str]:
        script = "cd /; grep -r . v?-* d0 d1 -s | grep -v '/\\.\\.' | grep -v bytes"
        lines = cluster.kubectl("exec", "p", "--", "sh", "-c", script).splitlines()
        return {f"{path} {line.partition('=')[0]}" if path[0] == "d" else path: line for path, _, line in
                (line.partition(":") for line in lines)}  # fmt: skip

    before = files()
    assert [before[f"v{n}-{what}/k"] for n in range(4) for what in ("changes", "goes")] == ["old"] * 8
    assert not [path for path in before if "comes" in path]
    assert (
        cluster.kubectl("exec", "p", "--", "sh", "-c", "xxd -p /v0-changes/bytes; xxd -p /v2-changes/bytes")
        == "decafe00\n" * 2
    )
    for n in (0, 1):
        assert before[f"d{n}/labels key"] == 'key="old"'
        assert before[f"d{n}/notes builder"] == 'builder="bar"'
    for kind, data in (("ConfigMap", "data"), ("Secret", "stringData")):
        cluster.kubectl("patch", kind, "changes", "-p", json.dumps({data: {"k": "new"}}))
        cluster.kubectl("delete", kind, "goes")
        create(cluster, {**thing(kind, "comes"), data: {"k": "come"}})
    cluster.kubectl("label", "--overwrite", "pod", "p", "key=new")
    cluster.kubectl("annotate", "--overwrite", "pod", "p", "builder=foo")

    def arrived() -> bool:
        now = files()
        good = all(now.get(f"v{n}-changes/k") == "new" and now.get(f"v{n}-comes/k") == "come" for n in range(4))
        good &= not [path for path in now if "goes" in path]
        fields = all(
            now[f"d{n}/labels key"] == 'key="new"' and now[f"d{n}/notes builder"] == 'builder="foo"' for n in (0, 1)
        )
        return good and fields

    cluster.until("all changes", arrived)


EMPTY = list(product(("root", "user"), ("644", "666", "777"), ("disk", "memory")))
WRITING = """
f=/v/$MODE; echo mount-tester-text > $f; chmod $MODE $f
stat -c '%a %A %u' $f; stat -c '%a' /v; cat $f; grep -q ' /v tmpfs' /proc/mounts && echo tmpfs || echo disk
"""


def test_empty_directories(cluster: Cluster, ns: str) -> None:
    """381-395: for root and for others, files of three modes, on disk and in memory; shared between containers."""
    containers = []
    volumes: list[Tree] = []
    for who, mode, medium in EMPTY:
        name = f"{who}-{mode}-{medium}"
        context = {"securityContext": {"runAsUser": 1001}} if who == "user" else {}
        env = [{"name": "MODE", "value": mode}]
        containers.append(container(WRITING, name, env=env, volumeMounts=[mount(name, "/v")], **context))
        volumes.append({"name": name, "emptyDir": {"medium": "Memory"} if medium == "memory" else {}})
    shared = {"volumeMounts": [mount("shared", "/s")]}
    writer = container("echo hello from the other > /s/x.tmp; mv /s/x.tmp /s/x", "writer", **shared)
    reader = container("until test -e /s/x; do usleep 50000; done; cat /s/x", "reader", **shared)
    volumes.append({"name": "shared", "emptyDir": {}})
    found = outputs(cluster, pod("p", writer, reader, *containers, volumes=volumes))
    assert found["p/reader"] == ["hello from the other"]
    letters = {"644": "-rw-r--r--", "666": "-rw-rw-rw-", "777": "-rwxrwxrwx"}
    for who, mode, medium in EMPTY:
        lines = found[f"p/{who}-{mode}-{medium}"]
        assert lines[0] == f"{mode} {letters[mode]} {1001 if who == 'user' else 0}"
        assert lines[1:] == ["777", "mount-tester-text", "tmpfs" if medium == "memory" else "disk"], (who, mode, medium)


def test_all_that_can_be_projected(cluster: Cluster, ns: str) -> None:
    """400: a ConfigMap, a Secret and the pod's own fields in one directory."""
    sources = [
        {"configMap": {"name": "c", "items": [{"key": "data-1", "path": "c/configmap"}]}},
        {"secret": {"name": "s", "items": [{"key": "data-2", "path": "s/secret"}]}},
        {"downwardAPI": {"items": [field("podname", "metadata.name")]}},
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}},
    ]
    script = (
        "cat /all/c/configmap; echo; cat /all/s/secret; echo; cat /all/podname; echo; test -s /all/token && ls /all"
    )
    reading = container(script, volumeMounts=[mount("all", "/all", readOnly=True)])
    found = outputs(cluster, *SOURCES, pod("p", reading, volumes=[{"name": "all", "projected": {"sources": sources}}]))
    assert found["p/main"] == ["value-1", "value-2", "p", "c", "podname", "s", "token"]


def test_many_volumes_in_many_pods(cluster: Cluster, ns: str) -> None:
    """396: fifty ConfigMaps in each of five pods."""
    names = [f"racey-{n}" for n in range(50)]
    create(cluster, *({**thing("ConfigMap", name), "data": {"data-1": name}} for name in names))
    volumes = [volume(name, "configMap", source=name) for name in names]
    reading = container("cat /e/*/data-1 | wc -c", volumeMounts=[mount(name, f"/e/{name}") for name in names])
    found = outputs(cluster, *(pod(f"p{n}", reading, volumes=volumes) for n in range(5)))
    assert found == {f"p{n}/main": [str(len("".join(names)))] for n in range(5)}


def test_volumes_within_volumes(cluster: Cluster, ns: str) -> None:
    """397: a Secret and a ConfigMap side by side, and one below the other, do not disturb each other."""
    mounts = [mount("s", "/one/s"), mount("c", "/one/c"), mount("e", "/two"), mount("c", "/two/within")]
    volumes = [volume("s", "secret"), volume("c", "configMap"), {"name": "e", "emptyDir": {}}]
    script = "cat /one/*/data-1 /two/within/data-2; echo; touch /two/x && ls /two"
    found = outputs(cluster, *SOURCES, pod("p", container(script, volumeMounts=mounts), volumes=volumes))
    assert found["p/main"] == ["value-1value-1value-2", "within", "x"]


def test_single_files_of_volumes(cluster: Cluster, ns: str) -> None:
    """438-442: of a ConfigMap, a Secret, the pod's fields and a projection; over a file that the image has."""
    downwards = downward(field("d/podname", "metadata.name"))
    sources = [{"configMap": {"name": "c", "items": [{"key": "data-1", "path": "sub/configmap"}]}}]
    volumes = [
        volume("c", "configMap"), volume("s", "secret"),
        {"name": "d", **downwards}, {"name": "p", "projected": {"sources": sources}},
    ]  # fmt: skip
    mounts = [
        mount("c", "/c/file", subPath="data-1"), mount("c", "/etc/group", subPath="data-2"),
        mount("s", "/s/file", subPath="data-3"), mount("d", "/d/folder", subPath="d"),
        mount("p", "/p/file", subPath="sub/configmap"),
    ]  # fmt: skip
    files = ("/c/file", "/etc/group", "/s/file", "/d/folder/podname", "/p/file")
    script = "; ".join(f"cat {file}; echo" for file in files) + "; grep -c root /etc/passwd"
    found = outputs(cluster, *SOURCES, pod("p", container(script, volumeMounts=mounts), volumes=volumes))
    assert found["p/main"] == ["value-1", "value-2", "value-3", "p", "value-1", "1"]
