# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
"""The OpenAPI schema is true: whatever fits it, or does not, no route answers with a server error."""

from __future__ import annotations

import os

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from metier.tests.desk import open_desk, served
from metier.tests.patience import PATIENCE

load_all_checks()
_CHECKS = CHECKS.get_by_names(["not_a_server_error", "content_type_conformance", "response_schema_conformance"])
_MOST = int(os.environ.get("METIER_TEST_EXAMPLES", "3"))
"""Requests of each kind for each route."""


@pytest.fixture(scope="module")
def address(tmp_path_factory, models):
    with open_desk(tmp_path_factory.mktemp("desk")) as team, served(team) as address:
        yield address


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
def test_no_request_is_too_strange(address):
    schema = schemathesis.openapi.from_dict(httpx.get(f"{address}/openapi.json").json())
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 40
    wrong = []
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                _try(address, operation, mode)
            except Unsatisfiable:
                pass  # nothing can be wrong in a request without parameters
            except BaseExceptionGroup as found:
                wrong.append(f"{operation.label} {mode.name}: {[str(e)[:400] for e in found.exceptions]}")
    assert not wrong, "\n\n".join(wrong)


def _try(address, operation, mode):
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=_MOST, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def call(case):
        case.call_and_validate(base_url=address, checks=_CHECKS, timeout=PATIENCE)

    call()
