"""How a pytest of its own has the plugin, and as few others as it needs: loading them all takes seconds."""

MODULE = "sampan.testing.plugin"
ENVIRONMENT = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
ARGUMENTS = ("-p", MODULE, "-p", "no:cacheprovider")
ASYNCIO = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")
XDIST = ("-p", "xdist.plugin", "-p", "xdist.looponfail")
