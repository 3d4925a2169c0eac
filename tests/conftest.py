"""What every test run has.

It hears an interruption, and so does what it starts: a shell has the commands that it starts in the background ignore
SIGINT, and their children with them. It can write the case documents anew. And how long it takes hypothesis to make up an
input is not judged: a machine may be busy.
"""

import signal

import hypothesis
import pytest

hypothesis.settings.register_profile("sampan", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("sampan")


def pytest_configure() -> None:
    """Before anything is started."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """--update-cases writes what is done now into the case documents, for review."""
    parser.addoption("--update-cases", action="store_true", help="rewrite `then` in the case documents")


@pytest.fixture
def update_cases(request: pytest.FixtureRequest) -> bool:
    """Whether documents are to be rewritten."""
    return bool(request.config.getoption("--update-cases"))
