"""The messages between node and device plugins: v1beta1.

https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/
"""

from sampan.node.rpc import messages, service

VERSION = "v1beta1"
HEALTHY = "Healthy"

MESSAGES = messages.parse("""
DevicePluginOptions
  1 pre_start_required bool
  2 get_preferred_allocation_available bool
RegisterRequest
  1 version string
  2 endpoint string
  3 resource_name string
  4 options DevicePluginOptions
Empty
ListAndWatchResponse
  1 devices Device*
TopologyInfo
  1 nodes NUMANode*
NUMANode
  1 ID int64
Device
  1 ID string
  2 health string
  3 topology TopologyInfo
PreStartContainerRequest
  1 devices_ids string*
PreStartContainerResponse
PreferredAllocationRequest
  1 container_requests ContainerPreferredAllocationRequest*
ContainerPreferredAllocationRequest
  1 available_deviceIDs string*
  2 must_include_deviceIDs string*
  3 allocation_size int32
PreferredAllocationResponse
  1 container_responses ContainerPreferredAllocationResponse*
ContainerPreferredAllocationResponse
  1 deviceIDs string*
AllocateRequest
  1 container_requests ContainerAllocateRequest*
ContainerAllocateRequest
  1 devices_ids string*
AllocateResponse
  1 container_responses ContainerAllocateResponse*
ContainerAllocateResponse
  1 envs map<string,string>
  2 mounts Mount*
  3 devices DeviceSpec*
  4 annotations map<string,string>
  5 cdi_devices CDIDevice*
Mount
  1 container_path string
  2 host_path string
  3 read_only bool
DeviceSpec
  1 container_path string
  2 host_path string
  3 permissions string
CDIDevice
  1 name string
""")

REGISTRATION = service.methods("v1beta1.Registration", MESSAGES, "Register RegisterRequest Empty")
PLUGIN = service.methods(
    "v1beta1.DevicePlugin",
    MESSAGES,
    """
    GetDevicePluginOptions Empty DevicePluginOptions
    ListAndWatch Empty ListAndWatchResponse*
    GetPreferredAllocation PreferredAllocationRequest PreferredAllocationResponse
    Allocate AllocateRequest AllocateResponse
    PreStartContainer PreStartContainerRequest PreStartContainerResponse
    """,
)
