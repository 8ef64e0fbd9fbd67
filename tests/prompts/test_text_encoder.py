"""A text encoder of ComfyUI as the writer: choice, graph, answers of the demo engine."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from comfy_ui.client import ComfyClient, ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.demo.engine import Engine
from comfy_ui.demo.fault_switches import Faults
from comfy_ui.errors import LanguageModelError, ValidationError
from comfy_ui.prompts import adescribe_image, aenhance_prompt, describe_image, enhance_prompt
from comfy_ui.prompts.language_models import text_encoder
from comfy_ui.prompts.language_models.llm import Question
from comfy_ui.prompts.language_models.llm_output import is_cut_off, read_answer
from comfy_ui.prompts.language_models.sources import find_source
from comfy_ui.prompts.language_models.text_encoder import (
    TextEncoder,
    choose_encoder,
    find_encoder,
    write_text,
)
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.settings import Settings
from comfy_ui.workflow.presets.preset_store import list_presets
from tests.conftest import DATA
from tests.prompts.support import LlmServer, says_prompt

ABLE = Faults(test_nodes=True)


@pytest.fixture(autouse=True)
def forget_unable_encoders() -> Iterator[None]:
    yield
    text_encoder._unable.clear()


@pytest.fixture(scope="module")
def engine() -> Iterator[DemoServer]:
    with DemoServer(speed="instant").in_thread() as server:
        yield server


@pytest.fixture
def comfyui(engine: DemoServer) -> Iterator[DemoServer]:
    engine.faults = ABLE
    yield engine
    engine.faults = Faults()


@pytest.fixture
def client(comfyui: DemoServer) -> Iterator[ComfyClient]:
    with ComfyClient(url=comfyui.url) as client:
        yield client


def registry(*files: str) -> NodeRegistry:
    """The two classes of ComfyUI 0.33.0, with these text encoders."""
    facts = json.loads(gzip.decompress((DATA / "object_info-0.33.0.json.gz").read_bytes()))
    classes = {name: facts[name] for name in ("TextGenerate", "CLIPLoader")}
    classes["CLIPLoader"]["input"]["required"]["clip_name"][0] = [*files]
    return NodeRegistry(classes)


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 32), "teal").save(buffer, "PNG")
    return buffer.getvalue()


# --- choice ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "type_"),
    [
        ("qwen_3_4b.safetensors", "flux2"),
        ("sub/Qwen3-8B.safetensors", "flux2"),
        ("qwen3vl_4b_fp8_scaled.safetensors", "stable_diffusion"),
        ("qwen3vl_8b_int8_convrot.safetensors", "stable_diffusion"),
        ("qwen35_4b.safetensors", "stable_diffusion"),
        ("qwen_2.5_vl_7b_fp8_scaled.safetensors", "qwen_image"),
        ("gemma_3_12B_it_fp4_mixed.safetensors", "ltxv"),
        ("gemma_3_4b_it.safetensors", "lumina2"),
        ("gemma4-12b-with-proj-ltx-2.5-comfy-int8-convrot.safetensors", "ltxv"),
    ],
)
def test_choose_encoder_model_that_writes_gets_its_type(file: str, type_: str) -> None:
    chosen = choose_encoder(registry(file))
    assert chosen is not None
    assert chosen[0] == {"clip_name": file, "type": type_}


@pytest.mark.parametrize(
    "file",
    [
        "clip_l.safetensors",
        "t5xxl_fp16.safetensors",
        "t5gemma_b_b_ul2.safetensors",
        "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
        "llava_llama3_fp8_scaled.safetensors",
        "mistral_3_small_flux2_bf16.safetensors",
        "qwen_3_06b_base.safetensors",
        "qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors",
        "gemma_2_2b_fp16.safetensors",
        "qwen3-4b-base.safetensors",
    ],
)
def test_choose_encoder_model_that_cannot_write_is_none(file: str) -> None:
    assert choose_encoder(registry(file)) is None


def test_choose_encoder_of_older_core_is_none() -> None:
    with gzip.open(DATA / "object_info-0.3.64.json.gz") as file:
        assert choose_encoder(NodeRegistry(json.load(file))) is None


def test_choose_encoder_prefers_the_loader_of_the_workflow() -> None:
    """With equal inputs, ComfyUI takes the loaded model from its cache."""
    graph = next(p.graph for p in list_presets() if p.id == "z_image_turbo")
    files = ("qwen3vl_4b_fp8_scaled.safetensors", "z/qwen_3_4b.safetensors")
    chosen = choose_encoder(registry(*files), graph=graph)
    loader = {"clip_name": "z/qwen_3_4b.safetensors", "type": "lumina2", "device": "default"}
    assert chosen is not None
    assert chosen[0] == loader
    without = choose_encoder(registry(*files))
    assert without is not None
    assert without[0]["clip_name"] == files[0]


def test_choose_encoder_seeing_takes_only_models_with_eyes() -> None:
    blind = ("qwen_3_4b.safetensors", "qwen_2.5_vl_7b_fp8_scaled.safetensors")
    assert choose_encoder(registry(*blind), seeing=True) is None
    chosen = choose_encoder(registry(*blind, "gemma_3_12B_it_fp4_mixed.safetensors"), seeing=True)
    assert chosen is not None
    assert "gemma" in chosen[0]["clip_name"]


@pytest.mark.parametrize("name", ["rules", "comfyui"])
async def test_find_source_follows_the_setting(comfyui: DemoServer, name: str) -> None:
    settings = Settings(openai_base_url="http://gpu.example.com/v1", llm_model=name)
    async with ComfyWSClient(url=comfyui.url) as client:
        source = await find_source(None, client=client, settings=settings)
    assert isinstance(source, TextEncoder) == (name == "comfyui")
    assert (source is None) == (name == "rules")


# --- the question in the model's chat --------------------------------------------------------


def graph_for(optional: set[str] | None = None, **loader: str) -> dict[str, Any]:
    whole = loader.get("type") == "qwen_image"
    names = {"thinking", "use_default_template"} if optional is None else optional
    encoder = TextEncoder(
        None,  # type: ignore[arg-type]
        {"clip_name": "x.safetensors", **loader},
        whole_chat=whole,
        optional=frozenset(names),
    )
    question = Question(system="Be brief.", user="a cat<|im_end|><end_of_turn>", seed=7)
    inputs: dict[str, Any] = text_encoder._graph(encoder, question, None)["2"]["inputs"]
    return inputs


def test_graph_puts_instructions_into_the_turn_without_markers() -> None:
    inputs = graph_for(type="flux2")
    assert inputs["prompt"] == "Be brief.\n\na cat"
    assert inputs["sampling_mode.seed"] == 7
    assert inputs["thinking"] is False
    assert graph_for(type="lumina2")["prompt"].endswith(" /no_think")


def test_graph_replaces_a_template_that_asks_for_a_description() -> None:
    prompt = graph_for(type="qwen_image")["prompt"]
    assert prompt.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\na cat<")
    assert prompt.endswith("<|im_start|>assistant\n")


def test_graph_uses_the_system_prompt_of_newer_cores() -> None:
    inputs = graph_for({"system_prompt"}, type="flux2")
    assert (inputs["system_prompt"], inputs["prompt"]) == ("Be brief.", "a cat")
    assert "thinking" not in inputs


# --- answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "<think>\nA cat. Where?\n</think>\n\n{}",
        "A cat. Where?\n</think>\n{}",
        "<|channel>thought\nA cat.<channel|>{}",
        "<think></think>```json\n{}\n```",
    ],
)
def test_read_answer_reasoning_is_removed(text: str) -> None:
    answer = text.replace("{}", '{"prompt": "a cat at dawn"}')
    assert not is_cut_off(answer)
    assert read_answer(answer).prompt == "a cat at dawn"


@pytest.mark.parametrize(
    "text", ['{"prompt": "a cat at', '```json\n{"prompt', "<think>A cat.", "<|channel>thought\nA"]
)
def test_is_cut_off_without_an_end_is_true(text: str) -> None:
    assert is_cut_off(text)


@pytest.mark.parametrize("text", ["", "a cat", "a {red|blue} cat", 'Sure: {"prompt": "a cat"}'])
def test_is_cut_off_complete_answer_is_false(text: str) -> None:
    assert not is_cut_off(text)


def test_enhance_prompt_with_client_names_the_encoder(client: ComfyClient) -> None:
    draft = enhance_prompt("a red fox", family="Wan", client=client)
    assert draft.enhanced == "a red fox, in soft light at dawn"
    assert draft.negative == "haze"
    assert draft.source == "qwen3vl_4b_fp8_scaled (ComfyUI)"
    assert client.recent() == {}  # the prompt does not stay in ComfyUI's history


async def test_aenhance_prompt_with_client_names_the_encoder(comfyui: DemoServer) -> None:
    async with ComfyWSClient(url=comfyui.url) as client:
        draft = await aenhance_prompt("a red fox", client=client)
        with pytest.raises(ValidationError, match="takes a ComfyClient"):
            enhance_prompt("a red fox", client=client)
    assert draft.source == "qwen3vl_4b_fp8_scaled (ComfyUI)"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "it was empty"),
        ("<think>Let me see", "cut off"),
        ('{"prompt": "a red fox in', "cut off"),
        ('{"prompt": "' + "a red fox, the fur, " * 400 + '"}', "cut off"),
        ("I'm sorry, I cannot do that.", "it refused"),
    ],
)
def test_enhance_prompt_unusable_text_falls_back_to_rules(
    comfyui: DemoServer, client: ComfyClient, written: str, reason: str
) -> None:
    comfyui.faults = Faults(test_nodes=True, written_text=written)
    draft = enhance_prompt("a red fox", client=client, seed=len(written))  # not from the cache
    assert draft.source == "rules"
    assert reason in draft.reason
    assert "(ComfyUI)" in draft.reason


def test_enhance_prompt_without_able_encoder_is_by_rules(
    comfyui: DemoServer, client: ComfyClient
) -> None:
    comfyui.faults = Faults()  # no TextGenerate
    assert enhance_prompt("a red fox", client=client).source == "rules"
    with pytest.raises(LanguageModelError, match="No text encoder of ComfyUI can write"):
        enhance_prompt("a red fox", client=client, model="comfyui", on_failure="raise")


def test_enhance_prompt_rules_ask_no_server(client: ComfyClient) -> None:
    assert enhance_prompt("a red fox", client=client, model="rules").source == "rules"


def test_enhance_prompt_server_away_is_by_rules() -> None:
    with ComfyClient(url="http://127.0.0.1:9") as client:
        assert enhance_prompt("a red fox", client=client).source == "rules"


async def test_write_text_model_without_generate_is_not_asked_again(comfyui: DemoServer) -> None:
    async with ComfyWSClient(url=comfyui.url) as client:
        encoder = TextEncoder(client, {"clip_name": "clip_l.safetensors", "type": "sd3"})
        with pytest.raises(LanguageModelError, match=r"clip_l .* cannot write: .*generate"):
            await write_text(encoder, Question("", "a cat"), timeout_s=60)
        assert await client.recent() == {}
        first = await find_encoder(client)
        assert first is not None
        text_encoder._unable.add((client.url, first.filename))
        second = await find_encoder(client)
        assert second is not None
        assert second.filename != first.filename
    assert (client.url, "clip_l.safetensors") in text_encoder._unable


async def test_write_text_behind_a_long_job_gives_up(comfyui: DemoServer) -> None:
    sleep = {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0},
        },
        "2": {
            "class_type": "DemoSleep",
            "inputs": {"image": ["1", 0], "seconds": 600, "steps": 600},
        },
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
    async with ComfyWSClient(url=comfyui.url) as client:
        long = await client.queue_prompt(sleep)
        async with asyncio.timeout(30):
            while not (await client.queue()).running:  # noqa: ASYNC110 -- the server decides
                await asyncio.sleep(0.01)
        encoder = await find_encoder(client)
        assert encoder is not None
        with pytest.raises(LanguageModelError, match="ComfyUI is busy"):
            await write_text(encoder, Question("", "a cat"), timeout_s=60, start_s=0.05)
        assert await client.cancel(long)


async def test_write_text_cancelled_takes_its_job_away(comfyui: DemoServer) -> None:
    comfyui.faults = Faults(test_nodes=True, node_s={"TextGenerate": 600.0})
    async with ComfyWSClient(url=comfyui.url) as client:
        encoder = await find_encoder(client)
        assert encoder is not None
        writing = asyncio.create_task(write_text(encoder, Question("", "a cat"), timeout_s=60))
        async with asyncio.timeout(30):
            while not (await client.queue()).running:  # noqa: ASYNC110 -- the server decides
                await asyncio.sleep(0.01)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            while (await client.queue()).running:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def test_describe_image_with_client_sends_the_scaled_image(client: ComfyClient) -> None:
    description = describe_image(picture(), client=client)
    assert description.enhanced == "a photograph of 64 by 32 dots"
    assert description.source == "qwen3vl_4b_fp8_scaled (ComfyUI)"


async def test_adescribe_image_with_client_sends_the_scaled_image(comfyui: DemoServer) -> None:
    async with ComfyWSClient(url=comfyui.url) as client:
        description = await adescribe_image(picture(), client=client)
    assert description.source == "qwen3vl_4b_fp8_scaled (ComfyUI)"


# --- one GPU for both --------------------------------------------------------------------------


@pytest.mark.parametrize("shares", [False, True])
def test_enhance_prompt_shared_gpu_is_freed_before_and_after(
    client: ComfyClient, llm: LlmServer, monkeypatch: pytest.MonkeyPatch, shares: bool
) -> None:
    llm.replies = [says_prompt("a red fox at dawn")]
    freed: list[bool] = []
    monkeypatch.setattr(Engine, "free", lambda _, forget_results: freed.append(forget_results))
    draft = enhance_prompt("a red fox", model=llm.model(), client=client, shares_gpu=shares)
    assert draft.source == llm.model().name
    assert freed == [True] * shares
    unloads = [body for body in llm.requests if "keep_alive" in body]
    assert unloads == [{"model": llm.model().name, "keep_alive": 0}] * shares


def test_enhance_prompt_shared_gpu_follows_the_setting(
    client: ComfyClient, llm: LlmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFY_UI_LLM_SHARES_GPU", "true")
    llm.replies = [says_prompt("a red fox at dawn")]
    enhance_prompt("a red fox", model=llm.model(), client=client)
    assert "keep_alive" in llm.requests[-1]
