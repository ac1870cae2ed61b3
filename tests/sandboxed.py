"""For tests that run code in the sandbox: it has to work where these tests run as root, as continuous integration does."""

from __future__ import annotations

import os

import pytest

from move37 import sandbox
from move37.errors import RewardError


def required() -> None:
    """Skip where this user can not have a sandbox; fail where root can not: `make test` has installed it then."""
    sandbox.use("bubblewrap")
    try:
        sandbox.require()
    except RewardError as problem:
        if os.geteuid() == 0:
            raise
        pytest.skip(str(problem))
