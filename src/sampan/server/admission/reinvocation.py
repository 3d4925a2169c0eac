"""Reinvocation: what changes an object may be asked once more after somebody else has changed it too.

A mutating phase has at most two rounds. In the second one only those run that ran before, ask for it by
their reinvocationPolicy, and have seen the object changed after them.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#reinvocation-policy
"""

from typing import Any

from sampan.meta import objects
from sampan.server.admission.chain import Attributes

Tree = dict[str, Any]


class Reinvocation:
    """The memory of one plugin for one request."""

    def __init__(self) -> None:
        self._ran: set[str] = set()
        self._due: set[str] = set()
        self._last: Tree | None = None

    def begin(self, attributes: Attributes) -> None:
        """A round begins: others may have changed the object since the last one."""
        if attributes.round and attributes.obj != self._last:
            self.changed()

    def may_run(self, attributes: Attributes, key: str) -> bool:
        """Whether this hook runs in this round."""
        return attributes.round == 0 or key in self._due

    def ran(self, key: str, policy: str | None) -> None:
        """This hook ran; with IfNeeded it may run again."""
        if policy == "IfNeeded":
            self._ran.add(key)

    def changed(self) -> None:
        """The object changed: all who ran before are due again."""
        self._due |= self._ran
        self._ran.clear()

    def end(self, attributes: Attributes) -> None:
        """A round ends."""
        self._last = None if attributes.obj is None else objects.copy(attributes.obj)


def of(attributes: Attributes, plugin: str) -> Reinvocation:
    """The plugin's memory, kept with the request."""
    made: Reinvocation | None = attributes.memory.get(plugin)
    if made is None:
        made = attributes.memory[plugin] = Reinvocation()
    return made
