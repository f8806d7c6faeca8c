"""A browser, where there is one."""

from collections.abc import Iterator
from typing import Any

import pytest
from browser import launched


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    with launched() as browser:
        yield browser
