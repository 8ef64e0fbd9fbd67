"""Errors in the envelope of OpenAI's API, with our hints."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import JSONResponse

from ...errors import (
    ComfyHeadlessError,
    ComfyUIConnectionError,
    SpendingError,
    UnknownPresetError,
    ValidationError,
)
from ...jobs.queue import KeyJobsError
from ...storage.records import JobError, Phase
from ..auth.accounts import TooManyTriesError

__all__ = ["API_PATH", "ApiError", "api_error", "error_response"]

API_PATH: Final = "/v1/"
_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_NO_RETRY: Final = {"x-should-retry": "false"}


class ApiError(Exception):
    """An error response: its status and the parts of the envelope."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.hint = hint
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    @property
    def envelope(self) -> dict[str, Any]:
        """The body of the response. The message has the hint, because clients show only that."""
        text = f"{self} {self.hint}".strip()
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": text,
                "type": _TYPES.get(self.status, kind),
                "param": self.param,
                "code": self.code,
                "hint": self.hint or None,
            }
        }

    @classmethod
    def of_job(cls, phase: Phase, error: JobError | None) -> ApiError:
        """Return the error of a job that ended without a result."""
        if phase is Phase.CANCELLED or error is None:
            return cls(422, "The job was canceled.", code="job_canceled")
        return cls(500, error.message, hint=error.hint, code="generation_failed")


def api_error(error: ComfyHeadlessError) -> ApiError:
    """Return the response for one of our errors."""
    status: int
    code: str | None
    retry_after_s = None
    match error:
        case TooManyTriesError() | KeyJobsError():
            status, code, retry_after_s = 429, "rate_limit_exceeded", error.wait_s
        case UnknownPresetError():
            status, code = 404, "model_not_found"
        case SpendingError():
            status, code = 403, "spending_not_allowed"
        case ValidationError():
            status, code = 400, None
        case ComfyUIConnectionError():
            status, code = 503, "server_offline"
        case _:
            status, code = 500, None
    return ApiError(status, error.message, hint=error.hint, code=code, retry_after_s=retry_after_s)


def error_response(error: ApiError) -> JSONResponse:
    """Return an error as a response. Clients repeat no failed job: it would fail again."""
    headers = _NO_RETRY if error.status >= 500 else {}
    if error.retry_after_s is not None:
        headers = {"Retry-After": f"{max(1.0, error.retry_after_s):.0f}"}
    return JSONResponse(error.envelope, status_code=error.status, headers=headers)
