"""Fixtures of these tests: the demo engine and its client."""

from tests.job_traces import job_traces  # noqa: F401
from tests.service_fixtures import client, server  # noqa: F401 -- fixtures are found by name
