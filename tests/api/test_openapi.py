"""The OpenAPI document: what it promises is what is answered, and it changes only when somebody means it to."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.api.conftest import Doors

from tallystick.api.openapi import document
from tallystick.api.routes import ENDPOINTS

EXAMPLES = settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SNAPSHOT = Path(__file__).with_name("openapi.json")


def test_the_document_is_the_frozen_one(request: pytest.FixtureRequest) -> None:
    """Rewritten by --rewrite: within version 1 fields and routes are only ever added."""
    made = document(ENDPOINTS)
    made["info"]["version"] = "0"
    text = json.dumps(made, indent=1, sort_keys=True) + "\n"
    if request.config.getoption("--rewrite"):
        SNAPSHOT.write_text(text)
    assert SNAPSHOT.read_text() == text


def test_every_field_and_parameter_is_described_by_its_type() -> None:
    for name, schema in document(ENDPOINTS)["components"]["schemas"].items():
        assert schema.get("description"), name


def test_no_server_error_and_no_undocumented_answer(doors: Doors) -> None:
    """Generated requests to each route, within and beyond what the document says."""
    schema = schemathesis.openapi.from_url(f"{doors.url}/v1/openapi.json")
    operations = [one.ok() for one in schema.get_all_operations() if one.ok().path != "/v1/events"]  # that has no end
    assert len(operations) == len([one for one in ENDPOINTS if not one.is_local])
    for operation in operations:
        _check(operation)


def _check(operation: Any) -> None:
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    @EXAMPLES
    def as_documented(case: Any) -> None:
        # a body may be well formed, and hold no certificate
        case.call_and_validate(excluded_checks=[positive_data_acceptance] if operation.body else [])

    @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    @EXAMPLES
    def otherwise(case: Any) -> None:
        case.call_and_validate()

    as_documented()
    with suppress(Unsatisfiable):  # some routes take anything
        otherwise()
