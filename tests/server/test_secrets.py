"""Secrets whose type says what is in them."""

import base64

import pytest

from tests.server.conftest import Api

SECRETS = "/api/v1/namespaces/default/secrets"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "unexpected end of JSON input"),
        (b'{"auths":', "unexpected end of JSON input"),
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b'{"auths":NaN}', "invalid character 'N' looking for beginning of value"),
        (b"[]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (b'"a"', "json: cannot unmarshal string into Go value of type map[string]interface {}"),
        (b"{}", ""),
        (b"null", ""),
        (b'{"auths":{"a":"\xff"}}', ""),
    ],
)
@pytest.mark.parametrize("kind", ["dockercfg", "dockerconfigjson"])
async def test_a_configuration_for_registries_is_json(api: Api, kind: str, text: bytes, why: str) -> None:
    """Refused in the words of the decoder, without what is in it."""
    secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "type": f"kubernetes.io/{kind}"}
    answer = await api.send("POST", SECRETS, {**secret, "data": {f".{kind}": base64.b64encode(text).decode()}})
    if not why:
        assert answer.status == 201, answer.body
        return
    assert answer.status == 422
    told = f'Secret "s" is invalid: data[.{kind}]: Invalid value: "<secret contents redacted>": {why}'
    assert answer.tree["message"] == told
