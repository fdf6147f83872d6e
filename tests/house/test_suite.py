"""The suite itself: fixtures that cost seconds are built once, whichever worker runs the tests that share them."""

import pytest


def test_tests_that_share_fixtures_run_on_one_worker(request: pytest.FixtureRequest) -> None:
    """A pytest that hides a test's id from xdist turns the groups off without a word."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("tests are not distributed by group: run with `make test`")
    assert request.node.nodeid.endswith("@tests/house/test_suite.py")
