"""The messages by which plugins make themselves known: pluginregistration.v1.

https://github.com/kubernetes/kubelet/blob/master/pkg/apis/pluginregistration/v1/api.proto
"""

from sampan.node.rpc import messages, service

MESSAGES = messages.parse("""
PluginInfo
  1 type string
  2 name string
  3 endpoint string
  4 supported_versions string*
RegistrationStatus
  1 plugin_registered bool
  2 error string
RegistrationStatusResponse
InfoRequest
""")

REGISTRATION = service.methods(
    "pluginregistration.Registration",
    MESSAGES,
    """
    GetInfo InfoRequest PluginInfo
    NotifyRegistrationStatus RegistrationStatus RegistrationStatusResponse
    """,
)
