"""Names that objects of a kind may have beyond the usual ones."""

import pytest

from sampan.kinds import builtin

BY_PATH = [("", "events"), ("policy", "poddisruptionbudgets"), ("rbac.authorization.k8s.io", "roles")]


@pytest.mark.parametrize(("group", "plural"), BY_PATH)
def test_some_names_only_have_to_fit_into_a_path(group: str, plural: str) -> None:
    """Those of events, disruption budgets and roles."""
    kind = builtin.by_resource(group, plural)
    assert kind is not None
    assert kind.name_check("A_b:c") == []
    assert kind.name_check("a/b") == ["may not contain '/'"]


def test_finalizers_need_a_domain_but_for_a_few_kinds() -> None:
    """Where upstream lets them be of any form, so do we."""
    bare = {kind.plural for kind in builtin.KINDS if kind.bare_finalizers}
    assert bare == {
        "apiservices", "customresourcedefinitions", "events", "leases", "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings", "mutatingwebhookconfigurations", "poddisruptionbudgets", "runtimeclasses",
        "validatingadmissionpolicies", "validatingadmissionpolicybindings", "validatingwebhookconfigurations",
    }  # fmt: skip
