"""When an image is pulled if nobody says: always for the tag latest or none, else when it is not there.

https://kubernetes.io/docs/concepts/containers/images/#imagepullpolicy-defaulting
"""

import re

from sampan.kit.texts import Texts

_PART = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_IMAGE = re.compile(
    rf"(?P<name>(?:{_HOST}/)?{_PART}(?:/{_PART})*)(?::(?P<tag>[\w][\w.-]{{0,127}}))?(?P<digest>@[A-Za-z0-9+._-]+:[a-fA-F0-9]{{32,}})?",
    re.ASCII,
)
_LONGEST = 255 - len("docker.io/library/")
_ID = re.compile("[a-f0-9]{64}")


def pull_policy(image: str) -> str:
    """Always or IfNotPresent. What is no reference of an image has no tag, not even latest."""
    return _POLICIES[image]


def _policy(image: str) -> str:
    found = _IMAGE.fullmatch(image)
    if found is None or _ID.fullmatch(image) or len(found["name"]) > _LONGEST:
        return "IfNotPresent"
    tag = found["tag"] or ("" if found["digest"] else "latest")
    return "Always" if tag == "latest" else "IfNotPresent"


_POLICIES = Texts(_policy, 512)
