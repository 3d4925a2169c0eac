"""The messages by which the node tells who has which devices: podresources v1.

https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/#monitoring-device-plugin-resources
"""

from sampan.node.rpc import messages, service

MESSAGES = messages.parse("""
AllocatableResourcesRequest
AllocatableResourcesResponse
  1 devices ContainerDevices*
  2 cpu_ids int64*
  3 memory ContainerMemory*
ListPodResourcesRequest
ListPodResourcesResponse
  1 pod_resources PodResources*
GetPodResourcesRequest
  1 pod_name string
  2 pod_namespace string
GetPodResourcesResponse
  1 pod_resources PodResources
PodResources
  1 name string
  2 namespace string
  3 containers ContainerResources*
ContainerResources
  1 name string
  2 devices ContainerDevices*
  3 cpu_ids int64*
  4 memory ContainerMemory*
  5 dynamic_resources DynamicResource*
ContainerMemory
  1 memory_type string
  2 size uint64
  3 topology TopologyInfo
ContainerDevices
  1 resource_name string
  2 device_ids string*
  3 topology TopologyInfo
TopologyInfo
  1 nodes NUMANode*
NUMANode
  1 ID int64
DynamicResource
  2 claim_name string
  3 claim_namespace string
  4 claim_resources ClaimResource*
ClaimResource
  1 cdi_devices CDIDevice*
  2 driver_name string
  3 pool_name string
  4 device_name string
  5 share_id string?
CDIDevice
  1 name string
""")

LISTER = service.methods(
    "v1.PodResourcesLister",
    MESSAGES,
    """
    List ListPodResourcesRequest ListPodResourcesResponse
    GetAllocatableResources AllocatableResourcesRequest AllocatableResourcesResponse
    Get GetPodResourcesRequest GetPodResourcesResponse
    """,
)
