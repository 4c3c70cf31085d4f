from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.localstripe import LocalStripe, running_localstripe


@pytest.fixture
async def localstripe(tmp_path: Path) -> AsyncIterator[LocalStripe]:
    async with running_localstripe(tmp_path) as localstripe:
        yield localstripe
