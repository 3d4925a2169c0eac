"""What the node turns away."""

from sampan.node import admission

ALLOCATABLE = {"pods": "3", "cpu": "2", "memory": "1Gi"}


def pod(**requests):
    return {"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}


def test_what_fits_is_taken():
    """Up to the last bit, and nothing asked for is always there."""
    others = [admission.needs(pod(cpu="1", memory="512Mi"))]
    assert admission.refusal(admission.needs(pod(cpu="1", memory="512Mi")), others, ALLOCATABLE) is None
    assert admission.refusal(admission.needs(pod()), others * 2, ALLOCATABLE) is None


def test_what_does_not_fit_says_by_how_much():
    """Places first, then cpu in thousandths, then memory in bytes. What the node knows nothing of is not its business."""
    others = [admission.needs(pod(cpu="1500m"))]
    text = "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000"
    assert admission.refusal(admission.needs(pod(cpu="600m", memory="2Gi")), others, ALLOCATABLE) == ("OutOfcpu", text)
    text = "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"
    assert admission.refusal(admission.needs(pod(cpu="9")), [{"pods": 1}] * 3, ALLOCATABLE) == ("OutOfpods", text)
    wanted = admission.needs(pod(**{"x/y": "1"}))
    assert admission.refusal(wanted, [], ALLOCATABLE) is None
    assert admission.refusal(wanted, [], ALLOCATABLE | {"x/y": "0"})[0] == "OutOfx/y"
