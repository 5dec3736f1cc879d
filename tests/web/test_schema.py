"""Requests that the OpenAPI document allows, and many that it does not, get the documented responses."""

from __future__ import annotations

from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .conftest import opened

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def test_the_interface_is_as_documented(repository: Path) -> None:
    with opened(repository) as client:
        schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) == 10
        for operation in operations:

            @given(case=operation.as_strategy())
            @settings(max_examples=20, suppress_health_check=list(HealthCheck))
            def answered(case: schemathesis.Case) -> None:
                case.call_and_validate(checks=CHECKS, headers={"host": "127.0.0.1"})

            answered()
