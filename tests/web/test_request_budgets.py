from __future__ import annotations

import pytest

from comfy_ui.web.auth.accounts import Role
from comfy_ui.web.http.request_budgets import BUDGETS, DEFAULT, budget_of
from tests.docs import TABLES


@pytest.mark.parametrize(
    ("method", "path", "listed"),
    [
        ("GET", "/library", "/library"),
        ("GET", "/library/7", "/library/"),
        ("GET", "/library/zip", "/library/zip"),
        ("HEAD", "/", "/"),
        ("POST", "/gradio_api/call/v2/generate", "/gradio_api/call/"),
        ("POST", "/queue/cancel", "/queue/"),
        ("GET", "/assets/a/b.js", "/assets/"),
    ],
)
def test_budget_of_listed_path_is_its_row(method: str, path: str, listed: str) -> None:
    assert budget_of(method, path).path == listed


@pytest.mark.parametrize(
    "request_line", ["POST /", "POST /nothing", "PUT /uploads", "GET /a/b/c", "GET ", "GET x/y/"]
)
def test_budget_of_other_requests_is_small(request_line: str) -> None:
    budget = budget_of(*request_line.split(" "))
    assert budget is DEFAULT
    assert budget.body_bytes <= 1024


def test_budgets_of_gets_have_no_body() -> None:
    assert all(b.body_bytes <= 1024 and not b.json_items for b in BUDGETS if b.method == "GET")
    assert len({(b.method, b.path) for b in BUDGETS}) == len(BUDGETS)


def test_budgets_are_those_of_the_document() -> None:
    page, table = TABLES["budgets"]
    assert f"<!-- budgets -->\n\n{table()}" in page.read_text(encoding="utf-8")


def test_budget_json_items_of_users_are_fewer_than_of_admins() -> None:
    call = budget_of("POST", "/gradio_api/call/run_workflow")
    assert call.json_items_of(Role.ADMIN) == call.json_items == 100_000
    assert call.json_items_of(Role.USER) == call.json_items_of(Role.ANONYMOUS) == 20_000
    assert budget_of("POST", "/gradio_api/cancel").json_items_of(Role.USER) == 100


def test_budgets_searches_and_streams_of_one_user_are_few() -> None:
    searches = budget_of("GET", "/library")
    assert (searches.per_caller, searches.total) == (3, 6), "each reads the whole library"
    for path in ("/stage/events", "/queue/events", "/gradio_api/heartbeat/x"):
        assert budget_of("GET", path).stream
        assert budget_of("GET", path).per_caller <= 32
