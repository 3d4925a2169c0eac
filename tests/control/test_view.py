"""What controllers look objects up by."""

from typing import Any

import pytest

from sampan.control.view import path_terms

POD = {
    "spec": {
        "nodeName": "n",
        "resourceClaims": [{"resourceClaimName": "a"}, {"resourceClaimTemplateName": "t"}, {"resourceClaimName": "b"}],
    }
}


@pytest.mark.parametrize(
    ("path", "terms"),
    [
        ("spec.nodeName", ("n",)),
        ("spec.resourceClaims.resourceClaimName", ("a", "b")),
        ("spec.resourceClaims.resourceClaimTemplateName", ("t",)),
        ("spec.volumes.name", ()),
        ("status.phase", ()),
    ],
)
def test_terms_at_a_path(path: str, terms: Any) -> None:
    """Those of each item, where there is a list on the way; none where there is nothing."""
    assert path_terms(path)(POD) == terms
