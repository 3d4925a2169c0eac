"""Handover: what a write leaves of the fields that somebody owns, and what its writer owns then.

Objects of one sort are written alike, one after the other: what came of it is remembered, by what was owned and written.
"""

from collections.abc import Callable

import orjson

from sampan.kit import compact_json
from sampan.meta.apply import fieldset
from sampan.meta.apply.comparison import Difference

Set = fieldset.Set
Rule = Callable[[Set | None, Difference], Set | None]

MAX_KNOWN, MAX_KNOWN_BYTES = 256, 8192
_KNOWN: dict[tuple[Rule, bytes], Set | None] = {}
"""What came of writes that were seen lately, by the JSON of who owned what and of what was written."""


def left(fields: Set, difference: Difference) -> Set | None:
    """The fields without changed and removed ones; None where that is nothing."""
    changed, removed = difference.changed, difference.removed
    if fields.keys().isdisjoint(changed or ()) and fields.keys().isdisjoint(removed or ()):
        return fields
    return _remembered(_left, fields, difference)


def taken(own: Set | None, difference: Difference) -> Set:
    """What the writer of changed fields has then, who had `own`."""
    return _remembered(_taken, own, difference) or {}


def _left(fields: Set | None, difference: Difference) -> Set | None:
    return fieldset.difference(fieldset.difference(fields, difference.removed), difference.changed)


def _taken(own: Set | None, difference: Difference) -> Set | None:
    return fieldset.union(fieldset.difference(own, difference.removed), difference.changed)


def _remembered(rule: Rule, fields: Set | None, difference: Difference) -> Set | None:
    said = orjson.dumps((fields, *difference))
    if len(said) > MAX_KNOWN_BYTES:
        return rule(fields, difference)
    if (rule, said) in _KNOWN:
        return _KNOWN[rule, said]
    if len(_KNOWN) >= MAX_KNOWN:
        _KNOWN.clear()
    made = _KNOWN[rule, compact_json.compact(said)] = rule(fields, difference)
    return made
