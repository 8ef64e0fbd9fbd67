from __future__ import annotations

import json
from typing import Any

import pytest

from comfy_ui.storage.records import JobError, Phase
from comfy_ui.web.openai.api_errors import ApiError, error_response
from comfy_ui.web.openai.image_request import fitting_size, job_values, parse_form, parse_json
from tests.web.support import preset

BATCH = {"role": "batch", "targets": [{"node": "2", "input": "batch_size"}], "default": 1, "max": 4}
SIZED = preset(batch=BATCH, params=("prompt", "width", "height", "seed", "steps", "batch"))


def parsed(**fields: Any) -> Any:
    return parse_json(json.dumps(fields).encode())


def test_parse_json_ignores_unknown_parameters_nulls_and_empty_texts() -> None:
    request = parsed(prompt="a", size=None, model="", moderation="low", user="u", n=None)
    assert (request.prompt, request.size, request.model, request.n) == ("a", "auto", "", 1)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 11}, "n"),
        ({"n": 0}, "n"),
        ({"prompt": ["a"]}, "prompt"),
        ({"prompt": "x" * 20_001}, "prompt"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"partial_images": 4}, "partial_images"),
        ({"x_comfy_ui": 3}, "x_comfy_ui"),
    ],
)
def test_parse_json_invalid_parameter_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        parsed(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_parse_json_other_bodies_are_400(content: bytes) -> None:
    with pytest.raises(ApiError, match="JSON"):
        parse_json(content)


def test_parse_form_reads_numbers_and_both_spellings_of_nested_values() -> None:
    request = parse_form(
        [("prompt", "a"), ("n", "2"), ("stream", "true"), ("x_comfy_ui[seed]", "7")]
    )
    assert (request.n, request.stream, request.x_comfy_ui) == (2, True, {"seed": "7"})
    assert parse_form([("x_comfy_ui", '{"seed": 7}')]).x_comfy_ui == {"seed": 7}
    with pytest.raises(ApiError, match="x_comfy_ui"):
        parse_form([("x_comfy_ui", "{")])


@pytest.mark.parametrize(
    ("size", "fitting"),
    [
        ((1024, 1536), (1024, 1536)),
        ((1000, 1000), (992, 992)),
        ((4096, 2048), (2048, 1024)),
        ((128, 128), (256, 256)),
        ((99999, 1), (2048, 256)),
    ],
)
def test_fitting_size_keeps_proportions_within_the_ranges(
    size: tuple[int, int], fitting: tuple[int, int]
) -> None:
    assert SIZED.size_params is not None
    assert fitting_size(size, SIZED.size_params) == fitting


def test_job_values_uses_one_batch_where_the_preset_makes_one() -> None:
    (job,) = job_values(parsed(prompt=" a ", n=3, size="1024x512", quality="high"), SIZED)
    assert job == {"prompt": "a", "width": 1024, "height": 512, "quality": "hd", "batch": 3}


def test_job_values_without_a_batch_makes_jobs_with_rising_seeds() -> None:
    single = preset(params=("prompt", "seed", "steps"))
    jobs = job_values(parsed(prompt="a", n=3, size="64x64", x_comfy_ui={"seed": 7}), single)
    assert [job["seed"] for job in jobs] == [7, 8, 9]
    assert "width" not in jobs[0]
    assert len(job_values(parsed(prompt="a", n=5), SIZED)) == 5, "more than its largest batch"


def test_job_values_further_values_win_and_an_option_is_no_value() -> None:
    extension = {"width": 640, "batch": 2, "cancel_on_disconnect": True}
    request = parsed(prompt="a", size="512x512", x_comfy_ui=extension)
    assert request.cancels
    assert job_values(request, SIZED) == [{"prompt": "a", "width": 640, "height": 512, "batch": 2}]


@pytest.mark.parametrize(("fields", "param"), [({}, "prompt"), ({"size": "big"}, "size")])
def test_job_values_names_what_is_missing(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        job_values(parsed(**{"prompt": "" if not fields else "a", **fields}), SIZED)
    assert caught.value.param == param


def test_request_names_of_openai_models_mean_the_default_preset() -> None:
    for name in ("gpt-image-1.5", "dall-e-3", "chatgpt-image-latest", ""):
        assert parsed(model=name).preset_id == ""
    assert parsed(model="sd15").preset_id == "sd15"


def test_error_response_of_a_failed_job_is_not_retried_by_the_sdks() -> None:
    error = ApiError.of_job(Phase.FAILED, JobError("Out of memory.", "Make it smaller."))
    response = error_response(error)
    assert response.status_code == 500
    assert response.headers["x-should-retry"] == "false"
    assert json.loads(bytes(response.body))["error"]["message"] == "Out of memory. Make it smaller."
    assert ApiError.of_job(Phase.CANCELLED, None).status == 422
