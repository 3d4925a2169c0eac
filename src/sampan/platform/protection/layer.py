"""Protection: what is hard to destroy by mistake. Labels that forbid a deletion, budgets for pods, a fuse for loops."""

from sampan.platform.layer import Layer
from sampan.platform.protection import budget, budget_review, budget_rules, delete_protection, fuse
from sampan.platform.protection import pod_unavailable_budget as budgets
from sampan.platform.rights import Rights, rule

_RIGHTS = Rights(
    everywhere=(
        rule(budget.PODUNAVAILABLEBUDGET.group, (f"{budget.PODUNAVAILABLEBUDGET.plural}/status",), ("update",)),
        rule("*", ("*/scale",), ("get",)),
    ),
    at_home=(rule("", ("configmaps",), ("get",), (fuse.CONFIG[1],)),),
)

LAYER = Layer(
    name="protection",
    summary="refuses deletions that labels, budgets of pods or the pace of a client forbid",
    definitions=budget.DEFINITIONS,
    controllers=(budgets.CONTROLLER,),
    reviewers=(fuse.REVIEWER, delete_protection.REVIEWER, budget_review.REVIEWER, budget_rules.REVIEWER),
    rights=_RIGHTS,
)
