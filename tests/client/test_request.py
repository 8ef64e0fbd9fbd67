"""What an answer that is no success means."""

from __future__ import annotations

import pytest

from comfy_ui.client.transport.request import read_json, read_nothing, rejection
from comfy_ui.errors import AuthenticationError, ComfyUIConnectionError, ServerRejectedError
from tests.client.support import answer

LOGIN = b"<!doctype html><title>Sign in &amp; go</title><input type='password'>"
PAGE = b"<html><head><title>\n nginx </title></head></html>"


def test_success_is_no_rejection() -> None:
    assert all(rejection(answer(status=status)) is None for status in (200, 201, 204, 206))


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (401, AuthenticationError, False),
        (403, AuthenticationError, False),
        (402, ServerRejectedError, False),
        (404, ServerRejectedError, False),
        (413, ServerRejectedError, False),
        (429, ServerRejectedError, True),
        (500, ServerRejectedError, False),
        (502, ComfyUIConnectionError, True),
        (503, ComfyUIConnectionError, True),
        (504, ComfyUIConnectionError, True),
    ],
)
def test_each_error_status_has_its_class_and_a_hint(
    status: int, kind: type[Exception], *, retryable: bool
) -> None:
    error = rejection(answer(b"no", status=status))
    assert type(error) is kind
    assert error.hint
    assert error.retryable is retryable


def test_what_the_server_says_is_in_the_message_and_a_page_is_not() -> None:
    assert "(Job not found)" in str(rejection(answer({"error": "Job not found"}, status=409)))
    told = {"error": {"message": "queue\nfull"}}
    assert "(queue full)" in str(rejection(answer(told, status=429)))
    page = rejection(answer(PAGE, status=500, headers={"content-type": "text/html"}))
    assert "nginx" not in str(page)


def test_a_redirect_to_a_login_page_asks_for_credentials() -> None:
    moved = answer(status=302, headers={"location": "https://sso.example.com/login?next=/prompt"})
    assert isinstance(rejection(moved), AuthenticationError)
    assert "next=" not in str(rejection(moved))


def test_a_redirect_elsewhere_names_the_place_and_is_not_worth_a_retry() -> None:
    error = rejection(answer(status=301, headers={"location": "https://new.example.com/"}))
    assert isinstance(error, ComfyUIConnectionError)
    assert "https://new.example.com" in str(error)
    assert not error.retryable


def test_a_login_page_with_status_200_is_an_authentication_error() -> None:
    with pytest.raises(AuthenticationError, match="Sign in & go"):
        read_json(answer(LOGIN, headers={"content-type": "text/html"}))
    with pytest.raises(AuthenticationError):
        read_nothing(answer(LOGIN))


def test_another_programs_page_is_told_by_its_title() -> None:
    with pytest.raises(ComfyUIConnectionError, match="'nginx'") as caught:
        read_json(answer(PAGE))
    assert not caught.value.retryable


@pytest.mark.parametrize("body", [b"", b'{"a":', b"\xff\xfe", b"Bad Gateway"])
def test_a_broken_body_is_a_connection_error_worth_a_retry(body: bytes) -> None:
    with pytest.raises(ComfyUIConnectionError) as caught:
        read_json(answer(body))
    assert caught.value.retryable
