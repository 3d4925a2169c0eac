"""The part of the Container Runtime Interface (runtime.v1) that this node speaks: messages and methods.

https://github.com/kubernetes/cri-api
"""

from sampan.node.rpc import messages, service

_TABLE = """
Nothing

VersionRequest
  1 version string
VersionResponse
  1 version string
  2 runtime_name string
  3 runtime_version string
  4 runtime_api_version string

StatusRequest
  1 verbose bool
RuntimeCondition
  1 type string
  2 status bool
  3 reason string
  4 message string
RuntimeStatus
  1 conditions RuntimeCondition*
HandlerFeatures
  1 recursive_read_only_mounts bool
  2 user_namespaces bool
RuntimeHandler
  1 name string
  2 features HandlerFeatures
RuntimeFeatures
  1 supplemental_groups_policy bool
StatusResponse
  1 status RuntimeStatus
  2 info map<string,string>
  3 runtime_handlers RuntimeHandler*
  4 features RuntimeFeatures

Int64Value
  1 value int64
NamespaceOption
  1 network int32
  2 pid int32
  3 ipc int32
  4 target_id string
SecurityProfile
  1 profile_type int32
  2 localhost_ref string
SandboxSecurityContext
  1 namespace_options NamespaceOption
  4 readonly_rootfs bool
  6 privileged bool
  9 seccomp SecurityProfile
LinuxSandboxConfig
  1 cgroup_parent string
  2 security_context SandboxSecurityContext
  3 sysctls map<string,string>
SandboxMetadata
  1 name string
  2 uid string
  3 namespace string
  4 attempt uint32
SandboxConfig
  1 metadata SandboxMetadata
  2 hostname string
  3 log_directory string
  6 labels map<string,string>
  7 annotations map<string,string>
  8 linux LinuxSandboxConfig
RunSandboxRequest
  1 config SandboxConfig
  2 runtime_handler string
SandboxId
  1 pod_sandbox_id string
SandboxFilter
  3 label_selector map<string,string>
ListSandboxesRequest
  1 filter SandboxFilter
Sandbox
  1 id string
  2 metadata SandboxMetadata
  3 state int32
  4 created_at int64
  5 labels map<string,string>
  6 annotations map<string,string>
ListSandboxesResponse
  1 items Sandbox*

ImageSpec
  1 image string
KeyValue
  1 key string
  2 value string
Mount
  1 container_path string
  2 host_path string
  3 readonly bool
  5 propagation int32
  8 recursive_read_only bool
HugepageLimit
  1 page_size string
  2 limit uint64
Device
  1 container_path string
  2 host_path string
  3 permissions string
CdiDevice
  1 name string
ContainerResources
  1 cpu_period int64
  2 cpu_quota int64
  3 cpu_shares int64
  4 memory_limit_in_bytes int64
  5 oom_score_adj int64
  8 hugepage_limits HugepageLimit*
Capability
  1 add_capabilities string*
  2 drop_capabilities string*
ContainerSecurityContext
  1 capabilities Capability
  2 privileged bool
  3 namespace_options NamespaceOption
  5 run_as_user Int64Value
  6 run_as_username string
  7 readonly_rootfs bool
  8 supplemental_groups int64*
  9 apparmor_profile string
  11 no_new_privs bool
  12 run_as_group Int64Value
  13 masked_paths string*
  14 readonly_paths string*
  15 seccomp SecurityProfile
  16 apparmor SecurityProfile
  17 supplemental_groups_policy int32
LinuxContainerConfig
  1 resources ContainerResources
  2 security_context ContainerSecurityContext
ContainerMetadata
  1 name string
  2 attempt uint32
ContainerConfig
  1 metadata ContainerMetadata
  2 image ImageSpec
  3 command string*
  4 args string*
  5 working_dir string
  6 envs KeyValue*
  7 mounts Mount*
  8 devices Device*
  9 labels map<string,string>
  10 annotations map<string,string>
  11 log_path string
  12 stdin bool
  13 stdin_once bool
  14 tty bool
  15 linux LinuxContainerConfig
  17 CDI_devices CdiDevice*
CreateContainerRequest
  1 pod_sandbox_id string
  2 config ContainerConfig
  3 sandbox_config SandboxConfig
ContainerId
  1 container_id string
StopContainerRequest
  1 container_id string
  2 timeout int64
ContainerFilter
  4 label_selector map<string,string>
ListContainersRequest
  1 filter ContainerFilter
Container
  1 id string
  2 pod_sandbox_id string
  3 metadata ContainerMetadata
  6 state int32
  7 created_at int64
  8 labels map<string,string>
  9 annotations map<string,string>
ListContainersResponse
  1 containers Container*
ContainerStatusRequest
  1 container_id string
  2 verbose bool
ContainerStatus
  1 id string
  2 metadata ContainerMetadata
  3 state int32
  4 created_at int64
  5 started_at int64
  6 finished_at int64
  7 exit_code int32
  10 reason string
  11 message string
  12 labels map<string,string>
  13 annotations map<string,string>
ContainerStatusResponse
  1 status ContainerStatus
  2 info map<string,string>
UpdateResourcesRequest
  1 container_id string
  2 linux ContainerResources

ExecSyncRequest
  1 container_id string
  2 cmd string*
  3 timeout int64
ExecSyncResponse
  1 stdout bytes
  2 stderr bytes
  3 exit_code int32
ExecRequest
  1 container_id string
  2 cmd string*
  3 tty bool
  4 stdin bool
  5 stdout bool
  6 stderr bool
AttachRequest
  1 container_id string
  2 stdin bool
  3 tty bool
  4 stdout bool
  5 stderr bool
StreamUrl
  1 url string

Image
  1 id string
  2 repo_tags string*
  3 repo_digests string*
  4 size uint64
  5 uid Int64Value
  6 username string
ListImagesRequest
ListImagesResponse
  1 images Image*
ImageRequest
  1 image ImageSpec
ImageStatusResponse
  1 image Image
Auth
  1 username string
  2 password string
  5 identity_token string
PullImageRequest
  1 image ImageSpec
  2 auth Auth
PullImageResponse
  1 image_ref string
"""

_RUNTIME = """
Version VersionRequest VersionResponse
Status StatusRequest StatusResponse
RunPodSandbox RunSandboxRequest SandboxId
StopPodSandbox SandboxId Nothing
RemovePodSandbox SandboxId Nothing
ListPodSandbox ListSandboxesRequest ListSandboxesResponse
CreateContainer CreateContainerRequest ContainerId
StartContainer ContainerId Nothing
StopContainer StopContainerRequest Nothing
RemoveContainer ContainerId Nothing
ListContainers ListContainersRequest ListContainersResponse
ContainerStatus ContainerStatusRequest ContainerStatusResponse
UpdateContainerResources UpdateResourcesRequest Nothing
ReopenContainerLog ContainerId Nothing
ExecSync ExecSyncRequest ExecSyncResponse
Exec ExecRequest StreamUrl
Attach AttachRequest StreamUrl
"""

_IMAGES = """
ListImages ListImagesRequest ListImagesResponse
ImageStatus ImageRequest ImageStatusResponse
PullImage PullImageRequest PullImageResponse
RemoveImage ImageRequest Nothing
"""

MESSAGES = messages.parse(_TABLE)
RUNTIME = service.methods("runtime.v1.RuntimeService", MESSAGES, _RUNTIME)
IMAGES = service.methods("runtime.v1.ImageService", MESSAGES, _IMAGES)
METHODS = {**RUNTIME, **IMAGES}

READY = 0
"""A sandbox's state; the other is 1."""
CREATED, RUNNING, EXITED, UNKNOWN = range(4)
"""A container's states."""
POD, CONTAINER, NODE, TARGET = range(4)
"""Whose namespace."""
RUNTIME_DEFAULT, UNCONFINED, LOCALHOST = range(3)
"""Types of a SecurityProfile."""
PRIVATE, TO_CONTAINER, BOTH_WAYS = range(3)
"""Propagation of a mount."""
