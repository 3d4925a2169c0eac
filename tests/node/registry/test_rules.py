"""Whom a pull asks, as whom: mirrors, logins of secrets, challenges."""

import base64
import json
from typing import Any

import pytest

from sampan.node.registry import challenge, config, keyring
from sampan.node.registry.config import Endpoint, Login, RegistriesError, Tls


def secret(auths: dict[str, Any], key: str = ".dockerconfigjson") -> dict[str, Any]:
    tree = {"auths": auths} if key == ".dockerconfigjson" else auths
    return {"data": {key: base64.b64encode(json.dumps(tree).encode()).decode()}}


def auth(user: str, word: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{word}".encode()).decode()}


def test_a_registry_is_asked_by_its_own_name() -> None:
    """Docker's has another; one on this machine speaks plain HTTP."""
    asked = {
        domain: config.NONE.endpoints(domain, "a/b")[0].url for domain in ("docker.io", "quay.io", "localhost:5000")
    }
    assert asked == {
        "docker.io": "https://registry-1.docker.io/v2",
        "quay.io": "https://quay.io/v2",
        "localhost:5000": "http://localhost:5000/v2",
    }
    assert config.NONE.endpoints("127.0.0.2:80", "a")[0].url == "http://127.0.0.2:80/v2"


def test_mirrors_come_first_with_their_own_names_files_and_logins() -> None:
    """As k3s' registries.yaml has it; the star is for registries without mirrors of their own."""
    known = config.parse(
        {
            "mirrors": {
                "docker.io": {
                    "endpoint": ["https://m.example.com", "http://10.0.0.5:5000/hub"],
                    "rewrite": {"^library/(.*)": "hub/$1"},
                },
                "*": {"endpoint": ["all.example.com"]},
            },
            "configs": {
                "m.example.com": {"auth": auth("u", "p:q"), "tls": {"ca_file": "/ca", "insecure_skip_verify": True}},
                "quay.io": {"auth": {"username": "me", "password": "x"}},
            },
        }
    )
    assert known.endpoints("docker.io", "library/redis") == (
        Endpoint("https://m.example.com/v2", "hub/redis", Tls("/ca", "", "", True), Login("u", "p:q"), True),
        Endpoint("http://10.0.0.5:5000/hub", "hub/redis", is_mirror=True),
        Endpoint("https://registry-1.docker.io/v2", "library/redis"),
    )
    assert [e.url for e in known.endpoints("quay.io", "a")] == ["https://all.example.com/v2", "https://quay.io/v2"]
    assert known.endpoints("quay.io", "a")[1].login == Login("me", "x")


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ([], "the file must be a mapping"),
        ({"mirror": {}}, "unknown field 'mirror'; there are mirrors and configs"),
        ({"mirrors": {"a": {"endpoints": []}}}, "mirrors.a: unknown field 'endpoints'; there are endpoint and rewrite"),
        ({"mirrors": {"a": {"endpoint": "x"}}}, "mirrors.a.endpoint must be a list of addresses"),
        ({"mirrors": {"a": {"endpoint": ["ftp://x"]}}}, "mirrors.a.endpoint: 'ftp://x' is not an address"),
        ({"mirrors": {"a": {"rewrite": {"(": ""}}}}, "mirrors.a.rewrite: '(': "),
        ({"configs": {"a": {"auth": {"auth": "%"}}}}, "configs.a.auth.auth is not base64 of user:password"),
        ({"configs": {"a": {"tls": {"ca": ""}}}}, "configs.a.tls: unknown field 'ca'"),
    ],
)
def test_a_file_that_cannot_be_meant_so_is_refused(tree: Any, said: str) -> None:
    """With its place and what there is."""
    with pytest.raises(RegistriesError) as error:
        config.parse(tree)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("key", "domain", "path", "matches"),
    [
        ("https://index.docker.io/v1/", "docker.io", "library/redis", True),
        ("docker.io", "docker.io", "me/app", True),
        ("quay.io", "quay.io", "a/b", True),
        ("quay.io/a", "quay.io", "a/b", True),
        ("quay.io/a", "quay.io", "ab", False),
        ("https://quay.io/v2/", "quay.io", "x", True),
        ("*.example.com", "r.example.com", "x", True),
        ("*.example.com", "a.r.example.com", "x", False),
        ("r*.example.com:5000/x", "r1.example.com:5000", "x/y", True),
        ("r.example.com", "r.example.com:5000", "x", False),
        ("quay.io", "docker.io", "x", False),
    ],
)
def test_which_logins_are_for_an_image(key: str, domain: str, path: str, matches: bool) -> None:
    """As a kubelet matches keys of pull secrets."""
    logins = keyring.of_secret(secret({key: auth("u", "p")}))
    assert keyring.matching([logins], domain, path) == ((Login("u", "p"),) if matches else ())


def test_the_most_specific_login_comes_first_and_each_once() -> None:
    """Also over several secrets, and from the old form."""
    first = keyring.of_secret(secret({"quay.io": auth("a", "1"), "quay.io/x/y": auth("b", "2")}))
    second = keyring.of_secret(secret({"quay.io/x": auth("c", "3"), "*.io": auth("a", "1")}, ".dockercfg"))
    found = keyring.matching([first, second], "quay.io", "x/y")
    assert [login.username for login in found] == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"data": {}}, "it has neither"),
        ({"data": {".dockerconfigjson": "e30"}}, ".dockerconfigjson is not JSON"),
        (secret({"a": auth("u", "p") | {"auth": "dQ=="}}), "a.auth is not base64 of user:password"),
        (secret({"a": []}), "the login of a is not a mapping"),  # type: ignore[dict-item]
    ],
)
def test_a_secret_without_logins_says_so(bad: dict[str, Any], said: str) -> None:
    """Why, in words."""
    with pytest.raises(keyring.KeyringError) as error:
        keyring.of_secret(bad)
    assert str(error.value).startswith(said)


def test_challenges() -> None:
    """Quoted and bare values, commas inside, unknown ones."""
    header = 'Bearer realm="https://a/token",service=r, scope="repository:a/b:pull,push" ,error="insufficient_scope"'
    assert challenge.parse(header) == challenge.Challenge(
        "bearer", "https://a/token", "r", "repository:a/b:pull,push", "insufficient_scope"
    )
    assert challenge.parse('Basic realm="Registry \\"x\\""').realm == 'Registry "x"'
    assert challenge.parse("").scheme == ""
