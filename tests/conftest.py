"""What several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Where the real data sets lie; the test is skipped where CNNBENCH_DATA does not say."""
    folder = os.environ.get("CNNBENCH_DATA")
    if not folder:
        pytest.skip("CNNBENCH_DATA is not set: it names the folder with the real data sets")
    if not Path(folder).is_dir():
        pytest.skip(f"CNNBENCH_DATA names {folder}, which is no folder")
    return Path(folder)
