"""TLS by Secrets, and Ingresses, on a real Envoy."""

import asyncio
import base64
import datetime as dt
import json
import ssl
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from sampan.gateway import build, envoy_resources, proxy
from tests.gateway.world import PROXY, World, gateway, gateway_class, ingress_class, listener, route, to, view


@cache
def certificate(*names: str, bits: int = 0) -> tuple[str, str]:
    """A certificate that signs itself, and its key, of RSA where `bits` are said: base64 of PEM."""
    key = rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    begins = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + dt.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pems = (built.public_bytes(serialization.Encoding.PEM), key.private_bytes(*form))
    return base64.b64encode(pems[0]).decode(), base64.b64encode(pems[1]).decode()


def secret(name: str, *names: str, bits: int = 0) -> dict[str, Any]:
    chain, key = certificate(*names, bits=bits)
    return {
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": chain, "tls.key": key},
    }


async def ask(port: int, host: str, url: str = "/") -> tuple[str, Any]:
    """The name in the certificate that is shown to who asks for the host, and what is answered."""
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(PROXY, port, ssl=trusting, server_hostname=host)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    name = x509.load_der_x509_certificate(shown).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    writer.write(f"GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return str(name), json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["by"] if body else head.split()[1]


async def test_each_listener_shows_its_certificate(made: World) -> None:
    """The name in TLS decides; a Secret that changes is shown at once, to new connections."""

    def tls(name: str, host: str) -> dict[str, Any]:
        return listener(name, 443, "HTTPS", hostname=host, tls={"certificateRefs": [{"name": name}]})

    door = gateway(tls("a", "a.example"), tls("wild", "*.b.example"))
    routes = [
        route({"backendRefs": [to(n)]}, name=n, parents=[{"name": "main", "sectionName": n}]) for n in ("a", "wild")
    ]
    rest = [door, *routes, *await made.serving("a"), *await made.serving("wild"), secret("wild", "*.b.example")]
    await made.publish(*rest, secret("a", "a.example"))
    assert await ask(made.port(443), "a.example") == ("a.example", "a")
    assert await ask(made.port(443), "x.b.example") == ("*.b.example", "wild")
    await made.publish(*rest, secret("a", "new.example"))
    assert await ask(made.port(443), "a.example") == ("new.example", "a")


def ingress(name: str, *rules: Any, **spec: Any) -> dict[str, Any]:
    return {
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {"ingressClassName": "sampan", "rules": list(rules), **spec},
    }


def backend(name: str) -> dict[str, Any]:
    return {"service": {"name": name, "port": {"name": "http"}}}


def rule(host: str, *paths: tuple[str, str, str]) -> dict[str, Any]:
    listed = [{"path": url, "pathType": type_, "backend": backend(name)} for url, type_, name in paths]
    return {"host": host, "http": {"paths": listed}} if host else {"http": {"paths": listed}}


async def test_ingresses(made: World, monkeypatch: Any) -> None:
    """Hosts, wildcards of one label, path types, default backends and certificates."""
    monkeypatch.setattr(proxy, "INGRESS_PORTS", {80: made.port(80), 443: made.port(443)})
    names = ("root", "exact", "wild", "any", "last")
    rest = [o for name in names for o in await made.serving(name)]
    first = ingress(
        "first",
        rule(
            "a.example",
            ("/", "Prefix", "root"),
            ("/only", "Exact", "exact"),
            ("/impl/", "ImplementationSpecific", "exact"),
        ),
        rule("*.example", ("/", "Prefix", "wild")),
        rule("", ("/any", "Prefix", "any")),
        tls=[{"hosts": ["a.example"], "secretName": "cert"}, {"secretName": "missing"}],
    )
    last = ingress("last", defaultBackend=backend("last"))
    await made.publish(ingress_class(), first, last, secret("cert", "a.example"), *rest)

    async def by(host: str, url: str) -> Any:
        status, answer = await made.get(url, host)
        return answer["by"] if status == 200 else status

    assert [await by("a.example", url) for url in ("/", "/only", "/only/x", "/impl", "/any")] == [
        "root",
        "exact",
        "root",
        "exact",
        "root",
    ]
    assert [await by(host, "/") for host in ("B.Example", "x.b.example", "other")] == ["wild", "last", "last"]
    assert [await by(host, "/any/x") for host in ("x.b.example:80", "other")] == ["any", "any"]
    assert await ask(made.port(443), "a.example", "/only") == ("a.example", "exact")


def test_ingresses_of_others_are_left_alone() -> None:
    """Of another class, or of none where ours is not the default one."""
    other = {"kind": "IngressClass", "metadata": {"name": "other"}, "spec": {"controller": "other"}}
    foreign = ingress("foreign", rule("", ("/", "Prefix", "a")))
    foreign["spec"]["ingressClassName"] = "other"
    classless = ingress("classless", rule("", ("/", "Prefix", "a")))
    del classless["spec"]["ingressClassName"]
    given = [gateway_class(), ingress_class(), other, foreign, classless]
    assert build.plan(view(given)).entrances == ()
    ours = {
        **ingress_class(),
        "metadata": {"name": "sampan", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
    }
    plan = build.plan(view([gateway_class(), ours, other, foreign, classless]))
    assert [route.name for route in plan.entrances[0].doors[0].hosts[0].routes] == ["classless"]
    assert envoy_resources.resources(plan)[envoy_resources.LISTENERS].keys() == {"ingress/80"}
