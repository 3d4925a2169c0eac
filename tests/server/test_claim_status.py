"""Who may write which part of a ResourceClaim's status."""

from typing import Any

from sampan.web.message import Peer
from tests.server.conftest import Answer, Api

RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUP = "resource.k8s.io"
CLAIM = f"/apis/{GROUP}/v1/namespaces/default/resourceclaims"
DRIVER = "dra.example.com"
ACCOUNT = "system:serviceaccount:kube-system:driver"

Tree = dict[str, Any]

RESULT = {"request": "req-0", "driver": DRIVER, "pool": "pool", "device": "dev-0"}
FIELDS = [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]
ALLOCATION = {"devices": {"results": [RESULT]}, "nodeSelector": {"nodeSelectorTerms": [{"matchFields": FIELDS}]}}
TOLD = {"driver": DRIVER, "pool": "pool", "device": "dev-0"}
WHO_MAY = f'is forbidden: User "jane" cannot patch resource "resourceclaims/binding" in API group "{GROUP}" at the cluster scope'


async def give(api: Api, name: str, user: str, verbs: str, part: str, *names: str) -> None:
    """A right on a part of claims, for one user."""
    head = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
    rule: Tree = {"verbs": verbs.split(), "apiGroups": [GROUP], "resources": [f"resourceclaims/{part}"]}
    await api.create(
        f"{RBAC}/clusterroles", {**head, "kind": "ClusterRole", "rules": [rule | {"resourceNames": names}]}
    )
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    bound = {**head, "kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]}
    await api.create(f"{RBAC}/clusterrolebindings", bound)


async def claim(api: Api) -> None:
    devices = {"requests": [{"name": "req-0", "exactly": {"deviceClassName": "my-class"}}]}
    made = {
        "kind": "ResourceClaim",
        "apiVersion": f"{GROUP}/v1",
        "metadata": {"name": "c"},
        "spec": {"devices": devices},
    }
    await api.create(CLAIM, made)


async def write(api: Api, status: Tree, user: str = "jane", node: str = "") -> Answer:
    """Patches the status; `node` is where the pod of a service account's token is."""
    headers = {"content-type": "application/merge-patch+json"}
    if node:
        headers |= {"impersonate-user": user, "impersonate-extra-authentication.kubernetes.io%2fnode-name": node}
        return await api.send("PATCH", f"{CLAIM}/c/status", {"status": status}, **headers)
    return await api.send("PATCH", f"{CLAIM}/c/status", {"status": status}, Peer(user), **headers)


async def test_who_binds_claims(api: Api) -> None:
    """Allocation and reservations need resourceclaims/binding, everywhere; else the status of a claim is not enough."""
    await claim(api)
    await give(api, "status", "jane", "update patch", "status")
    answer = await write(api, {"allocation": ALLOCATION})
    assert answer.status == 422
    needed = 'changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="patch"'
    text = f'ResourceClaim.{GROUP} "c" is invalid: status: Forbidden: {needed} permission: resourceclaims.{GROUP} {WHO_MAY}'
    assert answer.tree["message"] == text
    await give(api, "binding", "jane", "update patch", "binding")
    assert (await write(api, {"allocation": ALLOCATION})).status == 200
    consumer = {"resource": "pods", "name": "p", "uid": "u"}
    assert (await write(api, {"reservedFor": [consumer]})).status == 200


async def test_who_tells_of_devices(api: Api) -> None:
    """Those who may for the driver; those on the claim's own node by a right that holds only there."""
    await claim(api)
    assert (await api.patch(f"{CLAIM}/c/status", {"status": {"allocation": ALLOCATION}})).status == 200
    await give(api, "status", ACCOUNT, "update patch", "status")
    await give(api, "near", ACCOUNT, "associated-node:patch", "driver", DRIVER)
    elsewhere = await write(api, {"devices": [TOLD]}, ACCOUNT, node="n2")
    needed = (
        'changing status.devices requires resource="resourceclaims/driver", verb="[arbitrary-node:patch]" permission'
    )
    assert elsewhere.status == 422
    assert f"status.devices: Forbidden: {needed}" in elsewhere.tree["message"]
    assert (await write(api, {"devices": [TOLD]}, ACCOUNT, node="n1")).status == 200
    assert (await write(api, {"devices": [TOLD]}, ACCOUNT, node="n2")).status == 200  # which changes nothing
    assert (await write(api, {"devices": []}, ACCOUNT, node="n2")).status == 422
    await give(api, "far", ACCOUNT, "arbitrary-node:patch", "driver", DRIVER)
    assert (await write(api, {"devices": []}, ACCOUNT, node="n2")).status == 200


async def test_who_may_from_the_start(api: Api) -> None:
    """The scheduler and the controller of claims."""
    await claim(api)
    for role in ("system:kube-scheduler", "system:controller:resource-claim-controller"):
        rules = (await api.get(f"{RBAC}/clusterroles/{role}"))["rules"]
        given = {
            part: rule["verbs"] for rule in rules for part in rule["resources"] if part.startswith("resourceclaims/")
        }
        assert given["resourceclaims/binding"] == ["patch", "update"]
        assert given["resourceclaims/driver"] == ["arbitrary-node:patch", "arbitrary-node:update"]
    assert (await write(api, {"allocation": ALLOCATION}, "system:kube-scheduler")).status == 200
