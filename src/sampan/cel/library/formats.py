"""Named formats: format.dns1123Label().validate(text) tells what is wrong with a text, format.named(name) finds one.

https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-format-library
"""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.cel import times
from sampan.cel.functions import Overload, tenth
from sampan.cel.library import urls
from sampan.cel.types import NAMED_FORMAT, STRING, list_of, optional_of
from sampan.cel.values import NONE, Opaque, Optional
from sampan.meta import names

_UUID = re.compile(r"[0-9A-Fa-f]{8}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Format(Opaque):
    """A rule for texts; `size` is how long its pattern counts as."""

    name: str
    check: Callable[[str], list[str]]
    size: int
    type = NAMED_FORMAT


def _says(parse: Callable[[str], Any], complaint: str = "") -> Callable[[str], list[str]]:
    def check(text: str) -> list[str]:
        try:
            parse(text)
        except (ValueError, binascii.Error) as wrong:
            return [complaint or str(wrong)]
        return []

    return check


def _uuid(text: str) -> None:
    if not _UUID.fullmatch(text):
        raise ValueError


def _byte(text: str) -> None:
    if not text:
        raise ValueError
    base64.b64decode(text, validate=True)


_label, _subdomain, _label_1035 = names.dns1123_label, names.dns1123_subdomain, names.dns1035_label
_FORMATS = {
    "dns1123Label": Format("DNS1123Label", _label, 30),
    "dns1123Subdomain": Format("DNS1123Subdomain", _subdomain, 60),
    "dns1035Label": Format("DNS1035Label", _label_1035, 30),
    "qualifiedName": Format("QualifiedName", names.qualified_name, 60),
    "dns1123LabelPrefix": Format("DNS1123LabelPrefix", lambda text: names.as_prefix(_label, text), 30),
    "dns1123SubdomainPrefix": Format("DNS1123SubdomainPrefix", lambda text: names.as_prefix(_subdomain, text), 60),
    "dns1035LabelPrefix": Format("DNS1035LabelPrefix", lambda text: names.as_prefix(_label_1035, text), 30),
    "labelValue": Format("LabelValue", names.label_value, 40),
    "uri": Format("URI", _says(urls.parse), 1000),
    "uuid": Format("uuid", _says(_uuid, "does not match the UUID format"), 100),
    "byte": Format("byte", _says(_byte, "invalid base64"), 80),
    "date": Format("date", _says(times.parse_date, "invalid date"), 120),
    "datetime": Format("datetime", _says(times.parse_schema_moment, "invalid datetime"), 120),
}


def _validate(format_: Format, text: str) -> Optional:
    found = format_.check(text)
    return Optional(found) if found else NONE


def _named(name: str) -> Optional:
    return Optional(_FORMATS[name]) if name in _FORMATS else NONE


def _cost(args: Sequence[Any]) -> int:
    format_: Format = args[0]
    return tenth(len(args[1])) * -(-format_.size // 4)


def _constant(format_: Format) -> Callable[[], Format]:
    return lambda: format_


FUNCTIONS: dict[str, list[Overload]] = {
    "validate": [
        Overload("format-validate", (NAMED_FORMAT, STRING), optional_of(list_of(STRING)), _validate, True, _cost)
    ],
    "format.named": [Overload("format-named", (STRING,), optional_of(NAMED_FORMAT), _named)],
    **{
        f"format.{name}": [Overload(f"format.{name}", (), NAMED_FORMAT, _constant(format_))]
        for name, format_ in _FORMATS.items()
    },
}
