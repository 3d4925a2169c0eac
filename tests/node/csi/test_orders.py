"""What a driver is told of a pod's volumes, by the objects that there are."""

import base64
import json

import pytest

from sampan.node.csi import order, wire
from sampan.node.csi.order import Order
from sampan.node.csi.orders import ATTACH_SECONDS, Orders
from sampan.node.volumes.failure import VolumeFailure, Waiting

PV = {
    "metadata": {"name": "pv-1"},
    "spec": {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "mountOptions": ["noatime"],
        "csi": {
            "driver": "d",
            "volumeHandle": "h",
            "fsType": "ext4",
            "volumeAttributes": {"a": "b"},
            "nodeStageSecretRef": {"name": "s", "namespace": "store"},
        },
    },
}
SECRET = {"metadata": {"name": "s"}, "data": {"k": base64.b64encode(b"v").decode()}}
ATTACHED = {"metadata": {"name": "a"}, "status": {"attached": True, "attachmentMetadata": {"device": "/dev/x"}}}
ATTACHMENT = order.attachment_name("h", "d", "node-1")


class Clock:
    def __init__(self):
        self.at = 0.0

    def monotonic(self):
        return self.at


class Reads:
    """Objects by plural, namespace and name."""

    def __init__(self, **objects):
        self.objects = objects

    async def get(self, kind, namespace, name, since):
        return self.objects.get(kind.plural, {}).get(f"{namespace}/{name}")

    async def token_of(self, pod, audience, seconds):
        return f"token of {audience} for {seconds}", "2026-01-01T00:00:00Z"


def pod(volume, **spec):
    metadata = {"name": "web", "namespace": "default", "uid": "u"}
    return {"metadata": metadata, "spec": {"volumes": [volume], "containers": [], "serviceAccountName": "me", **spec}}


CLAIMED = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
INLINE = {"name": "v", "csi": {"driver": "d", "volumeAttributes": {"a": "b"}, "nodePublishSecretRef": {"name": "s"}}}


async def made(reads, volume=CLAIMED, clock=None, **spec):
    [found] = await Orders("node-1", reads, clock or Clock()).of(pod(volume, **spec), {"data": PV}, 0.0)
    return found


def rules(**spec):
    return {"csidrivers": {"/d": {"spec": spec}}}


async def test_a_persistent_volume():
    """With its secrets, the attacher's words, and the pod's group."""
    reads = Reads(
        secrets={"store/s": SECRET},
        volumeattachments={f"/{ATTACHMENT}": ATTACHED},
        **rules(podInfoOnMount=True, tokenRequests=[{"audience": "vault", "expirationSeconds": 700}, {"audience": ""}]),
    )
    found = await made(reads, securityContext={"fsGroup": 5, "fsGroupChangePolicy": "OnRootMismatch"})
    assert (found.name, found.spec_name, found.handle, found.fs_type) == ("v", "pv-1", "h", "ext4")
    assert (found.secrets, found.publish_context) == ({"stage": {"k": "v"}}, {"device": "/dev/x"})
    assert (found.group, found.group_on_mismatch, found.is_attachable) == (5, True, True)
    assert found.pod_info == {
        "csi.storage.k8s.io/pod.name": "web",
        "csi.storage.k8s.io/pod.namespace": "default",
        "csi.storage.k8s.io/pod.uid": "u",
        "csi.storage.k8s.io/serviceAccount.name": "me",
        "csi.storage.k8s.io/ephemeral": "false",
    }
    assert json.loads(found.tokens) == {
        "vault": {"token": "token of vault for 700", "expirationTimestamp": "2026-01-01T00:00:00Z"},
        "": {"token": "token of  for 3600", "expirationTimestamp": "2026-01-01T00:00:00Z"},
    }


async def test_it_waits_for_its_attachment():
    """Quietly for two minutes; then an event says so, and it goes on waiting."""
    reads, clock = Reads(secrets={"store/s": SECRET}), Clock()
    orders = Orders("node-1", reads, clock)
    for at in (0.0, ATTACH_SECONDS - 1):
        clock.at = at
        [found] = await orders.of(pod(CLAIMED), {"data": PV}, 0.0)
        assert isinstance(found.obstacle, Waiting)
    clock.at = ATTACH_SECONDS
    [found] = await orders.of(pod(CLAIMED), {"data": PV}, 0.0)
    assert not isinstance(found.obstacle, Waiting)
    text = (
        "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[v], failed to process volumes=[]"
    )
    assert str(found.obstacle) == f"{text}: context deadline exceeded"
    [found] = await orders.of(pod(CLAIMED), {"data": PV}, 0.0)
    assert isinstance(found.obstacle, Waiting)
    reads.objects |= rules(attachRequired=False)
    [found] = await orders.of(pod(CLAIMED), {"data": PV}, 0.0)
    assert (found.is_attachable, found.publish_context, found.obstacle) == (False, {}, None)


async def test_an_inline_volume():
    """Needs a driver that says it has such; its secret is the pod's."""
    reads = Reads(secrets={"default/s": SECRET}, **rules(volumeLifecycleModes=["Ephemeral"], podInfoOnMount=True))
    found = await made(reads, INLINE)
    assert (found.spec_name, found.is_inline, found.is_attachable) == ("v", True, False)
    assert (found.secrets, found.handle[:4], len(found.handle)) == ({"publish": {"k": "v"}}, "csi-", 68)
    assert found.pod_info["csi.storage.k8s.io/ephemeral"] == "true"
    for objects, why in (
        ({}, r'volume mode "Ephemeral" not supported by driver d \(no CSIDriver object\)'),
        (
            rules(volumeLifecycleModes=["Persistent"]),
            r'"Ephemeral" not supported by driver d \(only supports \["Persistent"\]\)',
        ),
    ):
        with pytest.raises(VolumeFailure, match=why):
            await made(Reads(secrets={"default/s": SECRET}, **objects), INLINE)
    with pytest.raises(VolumeFailure, match="failed to find the secret s in the namespace default"):
        await made(Reads(**rules(volumeLifecycleModes=["Ephemeral"])), INLINE)


MOUNT_GROUP = frozenset([wire.MOUNT_GROUP])


@pytest.mark.parametrize(
    ("policy", "more", "abilities", "is_given"),
    [
        (None, {"fs_type": "ext4"}, frozenset(), True),
        (None, {}, frozenset(), False),
        (None, {"fs_type": "ext4", "access_modes": ("ReadWriteMany",)}, frozenset(), False),
        ("File", {"access_modes": ("ReadWriteMany",)}, frozenset(), True),
        ("None", {"fs_type": "ext4"}, frozenset(), False),
        ("File", {}, MOUNT_GROUP, False),
        ("File", {"read_only": True}, frozenset(), False),
        ("File", {"is_block": True}, frozenset(), False),
        ("File", {"group": None}, frozenset(), False),
    ],
)
def test_whose_files_are_given_to_the_group(policy, more, abilities, is_given):
    """As the CSIDriver's fsGroupPolicy says; a driver that can do it itself is told the group."""
    chosen = {"access_modes": ("ReadWriteOnce",), "group": 5, "rules": {"fsGroupPolicy": policy}, **more}
    found = Order("v", "pv", "d", "h", **chosen)
    assert found.is_given_to_group(abilities) is is_given
    told = (found.capability(abilities).get("mount") or {}).get("volume_mount_group", "")
    assert told == ("5" if abilities else "")


@pytest.mark.parametrize(
    ("modes", "plain", "able"),
    [
        (("ReadWriteOnce",), 1, 7),
        (("ReadWriteOncePod",), 1, 6),
        (("ReadOnlyMany",), 3, 3),
        (("ReadWriteMany",), 5, 5),
        (("ReadWriteOnce", "ReadWriteMany"), 1, 7),
    ],
)
def test_access_modes(modes, plain, able):
    """By the first; a driver that tells pods apart is told more."""
    found = Order("v", "pv", "d", "h", access_modes=modes)
    for abilities, mode in ((frozenset(), plain), (frozenset([wire.SINGLE_NODE_MULTI_WRITER]), able)):
        assert found.capability(abilities)["access_mode"] == {"mode": mode}


def test_tokens_may_go_among_the_secrets():
    """Where the CSIDriver says so."""
    key = "csi.storage.k8s.io/serviceAccount.tokens"
    found = Order("v", "pv", "d", "h", tokens="t", rules={"serviceAccountTokenInSecrets": True})
    request = found.publish_request("", "/t", frozenset())
    assert (request["secrets"], request["volume_context"]) == ({key: "t"}, {})
