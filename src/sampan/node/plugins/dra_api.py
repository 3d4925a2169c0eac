"""The messages between node and drivers of dynamic resources: v1 and v1beta1, which look the same, and devices' health.

https://github.com/kubernetes/kubelet/tree/master/pkg/apis/dra
"""

from sampan.node.rpc import messages, service

MESSAGES = messages.parse("""
Claim
  1 namespace string
  2 uid string
  3 name string
NodePrepareResourcesRequest
  1 claims Claim*
NodePrepareResourcesResponse
  1 claims map<string,NodePrepareResourceResponse>
NodePrepareResourceResponse
  1 devices Device*
  2 error string
Device
  1 request_names string*
  2 pool_name string
  3 device_name string
  4 cdi_device_ids string*
  5 share_id string?
NodeUnprepareResourcesRequest
  1 claims Claim*
NodeUnprepareResourcesResponse
  1 claims map<string,NodeUnprepareResourceResponse>
NodeUnprepareResourceResponse
  1 error string
NodeWatchResourcesRequest
DeviceIdentifier
  1 pool_name string
  2 device_name string
DeviceHealth
  1 device DeviceIdentifier
  2 health int32
  3 last_updated_time int64
  4 health_check_timeout_seconds int64
NodeWatchResourcesResponse
  1 devices DeviceHealth*
""")

_METHODS = """
NodePrepareResources NodePrepareResourcesRequest NodePrepareResourcesResponse
NodeUnprepareResources NodeUnprepareResourcesRequest NodeUnprepareResourcesResponse
"""
SERVICES = {
    f"{version}.DRAPlugin": service.methods(f"k8s.io.kubelet.pkg.apis.dra.{version}.DRAPlugin", MESSAGES, _METHODS)
    for version in ("v1", "v1beta1")
}
"""By what a driver says that it serves, the best one first."""

HEALTH_SERVICE = "v1alpha1.DRAResourceHealth"
HEALTH = service.methods(
    HEALTH_SERVICE, MESSAGES, "NodeWatchResources NodeWatchResourcesRequest NodeWatchResourcesResponse*"
)
HEALTH_WORDS = {1: "Healthy", 2: "Unhealthy"}
