"""CSI on the wire: the messages and methods that a node needs of a storage driver.

https://github.com/container-storage-interface/spec/blob/v1.11.0/spec.md
"""

from sampan.node.rpc import messages, service

MESSAGES = messages.parse("""
Empty
GetPluginInfoResponse
  1 name string
  2 vendor_version string
ProbeResponse
  1 ready BoolValue
BoolValue
  1 value bool
CapabilitiesResponse
  1 capabilities Capability*
Capability
  1 rpc Rpc
Rpc
  1 type int32
NodeGetInfoResponse
  1 node_id string
  2 max_volumes_per_node int64
  3 accessible_topology Topology
Topology
  1 segments map<string,string>
VolumeCapability
  1 block Empty
  2 mount MountVolume
  3 access_mode AccessMode
MountVolume
  1 fs_type string
  2 mount_flags string*
  3 volume_mount_group string
AccessMode
  1 mode int32
NodeStageVolumeRequest
  1 volume_id string
  2 publish_context map<string,string>
  3 staging_target_path string
  4 volume_capability VolumeCapability
  5 secrets map<string,string>
  6 volume_context map<string,string>
NodeUnstageVolumeRequest
  1 volume_id string
  2 staging_target_path string
NodePublishVolumeRequest
  1 volume_id string
  2 publish_context map<string,string>
  3 staging_target_path string
  4 target_path string
  5 volume_capability VolumeCapability
  6 readonly bool
  7 secrets map<string,string>
  8 volume_context map<string,string>
NodeUnpublishVolumeRequest
  1 volume_id string
  2 target_path string
NodeGetVolumeStatsRequest
  1 volume_id string
  2 volume_path string
  3 staging_target_path string
NodeGetVolumeStatsResponse
  1 usage VolumeUsage*
  2 volume_condition VolumeCondition
VolumeUsage
  1 available int64
  2 total int64
  3 used int64
  4 unit int32
VolumeCondition
  1 abnormal bool
  2 message string
NodeExpandVolumeRequest
  1 volume_id string
  2 volume_path string
  3 capacity_range CapacityRange
  4 staging_target_path string
  5 volume_capability VolumeCapability
  6 secrets map<string,string>
CapacityRange
  1 required_bytes int64
  2 limit_bytes int64
NodeExpandVolumeResponse
  1 capacity_bytes int64
""")

IDENTITY = service.methods(
    "csi.v1.Identity",
    MESSAGES,
    "GetPluginInfo Empty GetPluginInfoResponse\nProbe Empty ProbeResponse",
)
NODE = service.methods(
    "csi.v1.Node",
    MESSAGES,
    """
    NodeGetInfo Empty NodeGetInfoResponse
    NodeGetCapabilities Empty CapabilitiesResponse
    NodeStageVolume NodeStageVolumeRequest Empty
    NodeUnstageVolume NodeUnstageVolumeRequest Empty
    NodePublishVolume NodePublishVolumeRequest Empty
    NodeUnpublishVolume NodeUnpublishVolumeRequest Empty
    NodeGetVolumeStats NodeGetVolumeStatsRequest NodeGetVolumeStatsResponse
    NodeExpandVolume NodeExpandVolumeRequest NodeExpandVolumeResponse
    """,
)

STAGE, STATS, EXPAND, CONDITION, SINGLE_NODE_MULTI_WRITER, MOUNT_GROUP = 1, 2, 3, 4, 5, 6
"""What a driver's node service can do."""

BYTES, INODES = 1, 2
"""Units of a volume's usage."""

MODES = {
    "ReadWriteOnce": 1,
    "ReadOnlyMany": 3,
    "ReadWriteMany": 5,
    "ReadWriteOncePod": 1,
}
"""Access modes by their Kubernetes names."""
ONE_WRITER, SEVERAL_WRITERS = 6, 7
"""SINGLE_NODE_SINGLE_WRITER and SINGLE_NODE_MULTI_WRITER, for drivers that tell them apart."""
