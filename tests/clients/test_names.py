"""T4: names as libc resolves them in a pod; each test names its lines in docs/conformance.md.

The pod borrows the host's glibc; what `nslookup` asks is busybox' own.
"""

from collections.abc import Callable

import pytest

from tests.clients import pods
from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import FOREVER, Tree, container, create, mount, pod, thing, wait

pytestmark = [needs_root, pytest.mark.root]

Shell = Callable[[str], list[str]]

LIBC = {"usr": "/usr", "lib": "/usr/lib", "lib64": "/usr/lib64"}
PORTS = [{"name": "http", "port": 80, "protocol": "TCP"}]


def service(name: str, **spec: object) -> Tree:
    return {**thing("Service", name), "spec": spec}


def test_names_of_services_and_pods(cluster: Cluster, ns: str) -> None:
    """194-199: services with and without an address, partial names, addresses' names, pods' own, aliases; UDP and TCP."""
    mounts = [mount(name, f"/{name}") for name in LIBC]
    volumes = [{"name": name, "hostPath": {"path": path}} for name, path in LIBC.items()]
    selector = {"run": "asker"}
    create(
        cluster,
        service("web", selector=selector, ports=PORTS),
        service("db", clusterIP="None", selector=selector, ports=PORTS),
        service("alias", type="ExternalName", externalName=f"web.{ns}.svc.cluster.local"),
        service("away", type="ExternalName", externalName="foo.example.com"),
        pod("asker", container(FOREVER, volumeMounts=mounts), volumes=volumes, hostname="db-0", subdomain="db"),
    )
    wait(cluster, pods.READY, "asker")
    address, domain = cluster.get("pod", "asker")["status"]["podIP"], f"{ns}.svc.cluster.local"
    web = cluster.get("service", "web")["spec"]["clusterIP"]
    api = cluster.get("service", "kubernetes", "-n", "default")["spec"]["clusterIP"]

    def shell(script: str) -> list[str]:
        return cluster.kubectl("exec", "asker", "--", "sh", "-c", script).splitlines()

    partial = [f"web{rest}" for rest in ("", f".{ns}", f".{ns}.svc", f".{domain}", f".{domain}.")]
    expected = dict.fromkeys((*partial, web), (web, f"web.{domain}"))
    expected |= dict.fromkeys(("kubernetes.default", api), (api, "kubernetes.default.svc.cluster.local"))
    expected |= {name: (address, f"{name.removesuffix('.' + domain)}.{domain}") for name in ("db", f"db.{domain}")}
    expected |= dict.fromkeys(("db-0.db", f"db-0.db.{domain}"), (address, f"db-0.db.{domain}"))
    expected["alias"] = (web, f"web.{domain}")
    dashed = f"{address.replace('.', '-')}.{ns}.pod.cluster.local"
    expected[dashed] = (address, dashed)
    wait_for = "until getent hosts db >/dev/null; do sleep 0.05; done"
    for way in ("", "export RES_OPTIONS=use-vc; "):
        found = shell(f"{way}{wait_for}; for name in {' '.join(expected)}; do getent hosts $name || echo; done")
        told = dict(zip(expected, (tuple(line.split()[:2]) for line in found), strict=True))
        assert told == {name: (ip, said.removesuffix(".")) for name, (ip, said) in expected.items()}
    assert shell("getent hosts $(hostname)")[0].split()[:2] == [address, f"db-0.db.{domain}"]
    nobody = shell("for name in nobody web.nowhere _http._tcp.nobody; do getent hosts $name && echo found; done; true")
    assert nobody == []
    services = shell(f"for name in web db; do nslookup -type=srv _http._tcp.$name.{domain}; done")
    assert [line.split(" = ")[1] for line in services if "service = " in line] == [
        f"0 100 80 web.{domain}",
        f"0 100 80 db-0.db.{domain}",
    ]
    assert_aliases_follow(cluster, shell, f"away.{domain}")


def assert_aliases_follow(cluster: Cluster, shell: Shell, name: str) -> None:
    """194: another name, then a service with an address, from one answer to the next."""

    def canonical() -> list[str]:
        lines = shell(f"nslookup -type=cname {name}; nslookup {name}; true")
        return [line.split(" = ")[1] for line in lines if "canonical name" in line]

    assert "foo.example.com" in canonical()
    cluster.kubectl("patch", "service", "away", "-p", '{"spec": {"externalName": "bar.example.com"}}')
    cluster.until("the new name", lambda: "bar.example.com" in canonical() or None)
    spec = '{"spec": {"type": "ClusterIP", "externalName": null, "ports": [{"port": 80}]}}'
    cluster.kubectl("patch", "service", "away", "-p", spec)
    address = cluster.get("service", "away")["spec"]["clusterIP"]
    lookup = f"nslookup {name}; true"
    cluster.until("an address", lambda: any(address in line for line in shell(lookup)) or None)
