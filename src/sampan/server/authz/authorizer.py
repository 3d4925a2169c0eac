"""Authorizer: masters may everything, nodes what their pods need, everybody what RBAC gives.

Keeps the RBAC rules true by listening to the cache; the node rules look pods up there.

https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

import logging
from functools import partial
from typing import Any

from sampan.kinds.kind import Kind
from sampan.kinds.rbac.cluster_role import CLUSTERROLE
from sampan.kinds.rbac.cluster_role_binding import CLUSTERROLEBINDING
from sampan.kinds.rbac.role import ROLE
from sampan.kinds.rbac.role_binding import ROLEBINDING
from sampan.meta import objects
from sampan.server.authz import nodes
from sampan.server.authz.decision import Attributes, Decision
from sampan.server.authz.graph import Graph, Objects
from sampan.server.authz.rules import Rules, summary
from sampan.server.cache import Cache, Change, KindCache
from sampan.server.identity import MASTERS_GROUP, User

LOG = logging.getLogger(__name__)

Tree = dict[str, Any]

_EVERYTHING: tuple[Tree, ...] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)


class Authorizer:
    """Asks each authorizer in turn; the first that allows ends it."""

    def __init__(self, objects: Objects) -> None:
        self._graph = Graph(objects)
        self._pods = nodes.Pods(self._graph.is_bound, self._graph.refers)
        self.rules = Rules()

    def start(self, cache: Cache, before: "Authorizer | None" = None) -> None:
        """Takes in the stored roles and bindings, or what one `before` knew of them, and follows them from now on."""
        if before is not None:
            self.rules.continue_from(before.rules)
        for kind in (CLUSTERROLE, ROLE, CLUSTERROLEBINDING, ROLEBINDING):
            kept = cache.of(kind)
            if before is None:
                self._take_in(kind, kept)
            kept.listen(partial(self._changed, kind))
        self._graph.start(cache)

    def authorize(self, user: User, attributes: Attributes) -> Decision:
        """Whether the user may; the reason says who allowed it, or what a node lacks."""
        if MASTERS_GROUP in user.groups:
            return Decision(allowed=True)
        node = nodes.node_name(user)
        by_node = nodes.authorize(node, attributes, self._pods) if node else None
        if by_node is not None and by_node.allowed:
            return by_node
        by_rules = self.rules.allowed(user, attributes)
        if by_rules.allowed or by_node is None:
            return by_rules
        return by_node

    def is_node(self, user: User) -> bool:
        """Whether the node rules have a say, which no list of rules shows."""
        return bool(nodes.node_name(user))

    def rules_for(self, user: User, namespace: str) -> tuple[list[Tree], list[Tree]]:
        """The user's resource rules and path rules in a namespace, as a SelfSubjectRulesReview lists them."""
        return summary(rule for _, rule in self.rules.rules_of(user, namespace))

    def rules_held(self, user: User, namespace: str) -> list[Tree]:
        """Every rule that the user has in the namespace ("" = cluster-wide only)."""
        if MASTERS_GROUP in user.groups:
            return list(_EVERYTHING)
        return [rule for _, rule in self.rules.rules_of(user, namespace)]

    def _take_in(self, kind: Kind, kept: KindCache) -> None:
        for item in kept.range():
            try:
                self.rules.update({**item.tree, "kind": kind.name})
            except Exception:  # who has rights by it has none, and all others have theirs
                LOG.exception("%s %s is left out", kind.name, item.key)

    def _changed(self, kind: Kind, change: Change) -> None:
        if change.item is not None:
            self.rules.update({**change.item.tree, "kind": kind.name})
        else:
            self.rules.remove(kind.name, *objects.key(change.last().tree))
