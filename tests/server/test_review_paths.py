"""Paths and methods, as a client that asks for the wrong one sees them."""

from sampan.kinds.core import config_map
from tests.server.conftest import Api, pod

REFUSED = "the server does not allow this method on the requested resource"


async def test_a_slash_at_the_end_says_nothing(api: Api) -> None:
    """Tutorials write /pods/ and /pods/NAME/, and upstream answers as without."""
    await api.create("/api/v1/namespaces/default/pods", pod("p"))
    assert (await api.get("/api/v1/namespaces/default/pods/"))["kind"] == "PodList"
    assert (await api.get("/api/v1/namespaces/default/pods/p/"))["metadata"]["name"] == "p"
    assert (await api.get("/api/v1/namespaces/default/pods/p/status/"))["metadata"]["name"] == "p"
    assert (await api.send("GET", "/api/v1/namespaces/default/pods//p")).status == 404


async def test_a_known_path_refuses_a_method_it_does_not_know(api: Api) -> None:
    """405 with upstream's text, where there is such a path; 404 where there is none."""
    for method, path in (
        ("POST", "/api/v1/pods"),
        ("DELETE", "/api/v1/namespaces"),
        ("GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews"),
        ("POST", "/apis/apps/v1"),
        ("POST", "/api"),
    ):
        answer = await api.send(method, path)
        assert (answer.status, answer.tree["reason"], answer.tree["message"]) == (405, "MethodNotAllowed", REFUSED), (
            path
        )
    for method, path in (("POST", "/api/v1/nothings"), ("POST", "/nothing"), ("GET", "/api/v1/pods/p")):
        assert (await api.send(method, path)).status == 404, path


async def test_options_are_looked_at_before_the_body(api: Api) -> None:
    """A dry run of another word is no dry run: refused by the name of the request's options, whatever the body."""
    maps = "/api/v1/namespaces/default/configmaps"
    for method, path, options in (("POST", maps, "CreateOptions"), ("PUT", f"{maps}/a", "UpdateOptions")):
        answer = await api.send(method, f"{path}?dryRun=Most", {})
        assert answer.status == 422, answer.body
        assert answer.tree["message"].startswith(f'{options}.meta.k8s.io "" is invalid: dryRun: Unsupported value')


def test_too_much_data_in_a_config_map() -> None:
    """Upstream has no field to name for the sum of all, and says []: a text that people search the web for."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "x" * (2**20 + 1)}}
    told = [(cause.field, cause.message) for cause in config_map.validate(body, None, "")]
    assert told == [("[]", "Too long: may not be more than 1048576 bytes")]
