"""Options and helpers of the case documents: given, when, then."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """--update-cases writes what the controllers do now into the documents, for review."""
    parser.addoption("--update-cases", action="store_true", help="rewrite `then` in the case documents")


@pytest.fixture
def update_cases(request: pytest.FixtureRequest) -> bool:
    """Whether documents are to be rewritten."""
    return bool(request.config.getoption("--update-cases"))
