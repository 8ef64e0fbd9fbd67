"""Fixtures of these tests: a studio over the demo engine."""

from tests.studio_fixtures import client, server, studio  # noqa: F401 -- fixtures are found by name
