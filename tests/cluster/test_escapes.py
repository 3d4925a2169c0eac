"""Which runc is let in: by the version that mended each hole, in its own line or by a distribution."""

from dataclasses import replace
from pathlib import Path

import pytest

from sampan.cluster import escapes
from sampan.cluster.settings import Settings

OF_2025 = ("CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881")
DEBIAN = "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\nspec: 1.0.2-dev\n"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (DEBIAN, OF_2025),
        ("runc version 1.1.5\n", ("CVE-2024-21626", *OF_2025)),
        ("runc version 1.1.12\n", OF_2025),
        ("runc version 1.2.7\n", OF_2025),
        ("runc version 1.2.8\n", ()),
        ("runc version 1.3.2\n", OF_2025),
        ("runc version 1.3.3-0ubuntu1\n", ()),
        ("runc version 1.4.0-rc.2\n", OF_2025),
        ("runc version 1.4.0-rc.3\n", ()),
        ("runc version 1.4.0\n", ()),
        ("runc version 2.0.0-rc.1\n", ()),
        ("crun version 1.8.1\n", ()),
        ("", ()),
    ],
)
def test_known_escapes(text: str, names: tuple[str, ...]) -> None:
    """A version before a hole's mend has it."""
    assert escapes.known(text) == names


def test_only_real_containers_are_at_risk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only where nobody has said that it will do."""
    monkeypatch.setattr(escapes, "_said", lambda: DEBIAN)
    cluster = Settings("tide", tmp_path, nodes=1, runtime="oci")
    with pytest.raises(escapes.VulnerableRuntimeError) as refused:
        escapes.check(cluster)
    text = str(refused.value)
    assert text.startswith("runc 1.1.5+ds1 lets a hostile image or pod escape to this host (CVE-2025-31133, ")
    assert "install runc 1.2.8, 1.3.3 or newer" in text
    assert text.endswith("add --allow-vulnerable-runtime")
    for other in ({"runtime": "simulated"}, {"nodes": 0}, {"vulnerable_runtime": True}):
        escapes.check(replace(cluster, **other))
    (finding,) = escapes.findings()
    assert (finding.level, "CVE-2025-52881" in finding.what) == ("warning", True)
