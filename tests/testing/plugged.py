"""The arguments with which a pytest of its own has the plugin, whether the installation names it already or not."""

from importlib import metadata

MODULE = "sampan.testing.plugin"
_IS_KNOWN = any(entry.value == MODULE for entry in metadata.entry_points(group="pytest11"))

ARGUMENTS = (
    *(() if _IS_KNOWN else ("-p", MODULE)),
    "-p",
    "no:cacheprovider",
    "-o",
    "asyncio_default_fixture_loop_scope=function",
)
