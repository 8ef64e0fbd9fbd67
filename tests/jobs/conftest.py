"""Fixtures of these tests: a service over the demo engine."""

from tests.job_traces import job_traces  # noqa: F401
from tests.service_fixtures import client, server, service  # noqa: F401 -- fixtures are found by name
