"""What the configuration of a build's result will be, as far as its text says. Pure: nothing is carried out."""

from collections.abc import Callable

from sampan.node.images.building import effects, result
from sampan.node.images.building.result import Made, Tree
from sampan.node.images.building.stages import SCRATCH, Plan


def config(plan: Plan, base: Callable[[str], Tree]) -> Tree:
    """`base` gives the configuration of an image, empty if it is not known. Raises ContainerfileError."""
    found: dict[int, Made] = {}
    for stage in plan.stages:
        if stage.parent is not None:
            made = found[stage.parent].fork()
        else:
            known = {} if stage.image == SCRATCH else base(stage.image)
            made = result.began({"config": known}, [])
        for instruction in stage.instructions:
            made.state = effects.applied(made.state, instruction, plan)
        found[stage.number] = made
    return found[plan.stages[-1].number].state.config
