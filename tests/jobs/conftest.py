"""Fixtures of these tests: a service over the demo engine."""

from tests.service_fixtures import client, server, service  # noqa: F401 -- fixtures are found by name
