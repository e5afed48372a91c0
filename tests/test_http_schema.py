"""The OpenAPI schema is true: whatever fits it, or does not, no route answers with a server error."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks

from metier.tests.desk import open_desk, served

load_all_checks()
_CHECKS = [
    schemathesis.checks.CHECKS.get_one(name)
    for name in ("not_a_server_error", "content_type_conformance", "response_schema_conformance")
]


@pytest.fixture(scope="module")
def address(tmp_path_factory, models):
    with open_desk(tmp_path_factory.mktemp("desk")) as team, served(team) as address:
        yield address


@pytest.fixture(scope="module")
def schema(address):
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


lazy = schemathesis.pytest.from_fixture("schema")


@lazy.parametrize()
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_request_is_too_strange(case):
    case.call_and_validate(checks=_CHECKS, timeout=20)
