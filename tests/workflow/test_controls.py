"""Controls of small graphs, one rule at a time."""

from __future__ import annotations

import doctest
import random
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from comfy_ui.errors import InvalidWorkflowError, ValidationError
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.workflow.controls import (
    Control,
    apply_values,
    find_controls,
    find_outputs,
    name_clues,
    sections,
)
from comfy_ui.workflow.editor import convert_workflow
from comfy_ui.workflow.fields.numbers import MAX_SEED
from comfy_ui.workflow.presets.preset_from_workflow import preset_from_workflow
from tests.conftest import recorded_object_info
from tests.workflow.editor.editor_files import (
    SEED,
    SERVER,
    TEXT,
    File,
    border,
    node_class,
    text_to_image,
)
from tests.workflow.editor.fuzzing import JSON, mutate

Graph = dict[str, Any]


def controls_of_file(file: File, server: Any = SERVER) -> dict[str, Control]:
    graph = convert_workflow(file.json, server)
    return {control.id: control for control in find_controls(graph, server, file.json)}


def shown_ids(controls: dict[str, Control]) -> list[str]:
    return [control.id for control in controls.values() if not control.advanced]


def graph_of(**nodes: Any) -> Graph:
    """Build an API-format graph: name=(class, inputs) or (class, inputs, title)."""
    return {
        key: {
            "class_type": entry[0],
            "inputs": entry[1],
            "_meta": {"title": entry[2] if len(entry) > 2 else entry[0]},
        }
        for key, entry in nodes.items()
    }


def controls_of_graph(graph: Graph, server: Any = SERVER) -> dict[str, Control]:
    return {control.id: control for control in find_controls(graph, server)}


def sampling_graph(**changes: Any) -> Graph:
    """Return the default graph; ``changes`` replace or add nodes."""
    graph = convert_workflow(text_to_image().json, SERVER)
    names = {"loader": "1", "positive": "2", "negative": "3", "latent": "4", "sampler": "5"}
    added = graph_of(**changes)
    return graph | {names.get(key, key): node for key, node in added.items()}


class TestFindControlsOfDefaultWorkflow:
    def test_find_controls_default_workflow_orders_usual_controls_first(self):
        controls = controls_of_file(text_to_image())
        assert shown_ids(controls) == [
            "prompt", "negative", "width", "height", "seed", "batch", "steps", "cfg",
        ]  # fmt: skip
        assert {"sampler", "scheduler", "model", "strength"} < controls.keys()

    def test_find_controls_each_input_belongs_to_one_control(self):
        targets = [
            target for c in controls_of_file(text_to_image()).values() for target in c.targets
        ]
        assert len(targets) == len(set(targets))
        assert set(targets) == {
            ("1", "ckpt_name"), ("2", "text"), ("3", "text"), ("4", "width"), ("4", "height"),
            ("4", "batch_size"), ("5", "seed"), ("5", "steps"), ("5", "cfg"), ("5", "denoise"),
            ("5", "sampler_name"), ("5", "scheduler"), ("7", "filename_prefix"),
        }  # fmt: skip

    def test_find_controls_prompt_and_negative_follow_sampler_inputs(self):
        controls = controls_of_file(text_to_image())
        assert controls["prompt"].default == "a cat"
        assert controls["negative"].default == "blurry"
        assert controls["prompt"].multiline

    def test_find_controls_ranges_come_from_server_and_are_narrowed(self):
        controls = controls_of_file(text_to_image())
        assert (controls["width"].min, controls["width"].max, controls["width"].step) == (
            16,
            4096,
            8,
        )
        assert (controls["steps"].min, controls["steps"].max) == (1, 150)
        assert (controls["seed"].min, controls["seed"].max) == (0, MAX_SEED)
        assert controls["cfg"].step == 0.1
        assert controls["sampler"].choices == ("euler", "dpmpp_2m")
        assert controls["model"].choices == ("a.safetensors", "b.safetensors")

    def test_find_controls_range_includes_value_of_graph(self):
        file = text_to_image()
        file.nodes[3]["widgets_values"] = [8192, 512, 200]
        controls = controls_of_file(file)
        assert controls["width"].max == 8192
        assert controls["batch"].max == 200

    def test_find_controls_seed_of_64_bits_is_kept_exactly(self):
        file = text_to_image()
        file.nodes[4]["widgets_values"][0] = 2**64 - 2
        assert controls_of_file(file)["seed"].default == 2**64 - 2

    def test_find_controls_unused_node_has_no_control(self):
        file = text_to_image()
        file.add("CLIPTextEncode", "forgotten")
        assert all(
            ("8", "text") not in control.targets for control in controls_of_file(file).values()
        )

    def test_find_controls_cfg_of_one_is_advanced(self):
        file = text_to_image()
        file.nodes[4]["widgets_values"][3] = 1.0
        assert controls_of_file(file)["cfg"].advanced


class TestFindControlsByTracing:
    def test_find_controls_zeroed_negative_has_no_control(self):
        graph = sampling_graph(z=("ConditioningZeroOut", {"conditioning": ["2", 0]}))
        graph["5"]["inputs"]["negative"] = ["z", 0]
        controls = controls_of_graph(graph)
        assert "negative" not in controls
        assert controls["prompt"].targets == (("2", "text"),)

    def test_find_controls_text_shared_by_both_sides_is_prompt(self):
        graph = sampling_graph()
        graph["5"]["inputs"]["negative"] = ["2", 0]
        assert "negative" not in controls_of_graph(graph)

    def test_find_controls_node_with_both_sides_passes_each_by_name(self):
        server = SERVER | {
            "Control": node_class(
                {"positive": ["CONDITIONING"], "negative": ["CONDITIONING"], "points": TEXT},
                outputs=("MODEL", "CONDITIONING", "CONDITIONING"),
            )
        }
        both = {"positive": ["2", 0], "negative": ["3", 0], "points": "[1, 2]"}
        graph = sampling_graph(c=("Control", both))
        graph["5"]["inputs"] |= {"positive": ["c", 1], "negative": ["c", 2]}
        controls = controls_of_graph(graph, server)
        assert controls["prompt"].default == "a cat"
        assert controls["negative"].default == "blurry"

    def test_find_controls_linked_value_targets_primitive(self):
        graph = sampling_graph(
            n=("PrimitiveInt", {"value": 12}), t=("PrimitiveString", {"value": "a fox"})
        )
        graph["5"]["inputs"]["steps"] = ["n", 0]
        graph["2"]["inputs"]["text"] = ["t", 0]
        controls = controls_of_graph(graph)
        assert controls["steps"].targets == (("n", "value"),)
        assert (controls["steps"].min, controls["steps"].max) == (1, 150)
        assert controls["prompt"].targets == (("t", "value"),)

    def test_find_controls_several_texts_prefer_likely_prompt(self):
        server = SERVER | {
            "Join": node_class(
                {"string_a": TEXT, "string_b": TEXT, "delimiter": ["STRING"]}, outputs=("STRING",)
            )
        }
        graph = sampling_graph(
            p=("PrimitiveString", {"value": "a fox"}, "Prompt"),
            s=("PrimitiveString", {"value": "You are a painter."}, "System prompt"),
            j=("Join", {"string_a": ["s", 0], "string_b": ["p", 0], "delimiter": ", "}),
        )
        graph["2"]["inputs"]["text"] = ["j", 0]
        assert controls_of_graph(graph, server)["prompt"].targets == (("p", "value"),)

    def test_find_controls_computed_size_targets_source_of_computation(self):
        server = SERVER | {
            "Math": node_class({"expression": TEXT, "a": ["INT,FLOAT"]}, outputs=("INT",)),
            "Resolution": node_class(
                {"aspect_ratio": [["1:1", "16:9"]], "megapixels": ["FLOAT", {"default": 1.0}]},
                outputs=("INT", "INT"),
            ),
        }
        graph = sampling_graph(
            w=("PrimitiveInt", {"value": 1280}, "Width"),
            m=("Math", {"expression": "a / 2", "a": ["w", 0]}),
        )
        graph["4"]["inputs"]["width"] = ["m", 0]
        assert controls_of_graph(graph, server)["width"].targets == (("w", "value"),)
        graph = sampling_graph(r=("Resolution", {"aspect_ratio": "16:9", "megapixels": 1.0}))
        graph["4"]["inputs"] |= {"width": ["r", 0], "height": ["r", 1]}
        controls = controls_of_graph(graph, server)
        assert controls["aspect_ratio"].choices == ("1:1", "16:9")
        assert not controls["aspect_ratio"].advanced
        assert "width" not in controls

    def test_find_controls_number_for_both_sides_is_plain_integer(self):
        graph = sampling_graph(side=("PrimitiveInt", {"value": 1024}, "Side"))
        graph["4"]["inputs"] |= {"width": ["side", 0], "height": ["side", 0]}
        controls = controls_of_graph(graph)
        assert controls["side"].role == "int"
        assert not {"width", "height"} & controls.keys()

    def test_find_controls_custom_sampler_is_traced_through_its_nodes(self):
        server = SERVER | {
            "SamplerCustomAdvanced": node_class(
                {"noise": ["NOISE"], "guider": ["GUIDER"], "sampler": ["SAMPLER"],
                 "sigmas": ["SIGMAS"], "latent_image": ["LATENT"]},
                outputs=("LATENT", "LATENT"),
            ),
            "RandomNoise": node_class({"noise_seed": SEED}, outputs=("NOISE",)),
            "CFGGuider": node_class(
                {"model": ["MODEL"], "positive": ["CONDITIONING"],
                 "negative": ["CONDITIONING"], "cfg": ["FLOAT", {"default": 8.0}]},
                outputs=("GUIDER",),
            ),
            "KSamplerSelect": node_class({"sampler_name": [["euler"]]}, outputs=("SAMPLER",)),
            "BasicScheduler": node_class(
                {"model": ["MODEL"], "scheduler": [["simple"]], "steps": ["INT"],
                 "denoise": ["FLOAT"]},
                outputs=("SIGMAS",),
            ),
            "SplitSigmas": node_class(
                {"sigmas": ["SIGMAS"], "step": ["INT"]}, outputs=("SIGMAS", "SIGMAS")
            ),
        }  # fmt: skip
        guided = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "cfg": 4.0}
        scheduled = {"model": ["1", 0], "scheduler": "simple", "steps": 9, "denoise": 1.0}
        graph = sampling_graph(
            noise=("RandomNoise", {"noise_seed": 3}),
            guider=("CFGGuider", guided),
            chosen=("KSamplerSelect", {"sampler_name": "euler"}),
            sigmas=("BasicScheduler", scheduled),
            split=("SplitSigmas", {"sigmas": ["sigmas", 0], "step": 4}),
            sampler=("SamplerCustomAdvanced", {
                "noise": ["noise", 0], "guider": ["guider", 0], "sampler": ["chosen", 0],
                "sigmas": ["split", 1], "latent_image": ["4", 0],
            }),
        )  # fmt: skip
        controls = controls_of_graph(graph, server)
        expected = {
            "prompt": "2", "negative": "3", "seed": "noise", "cfg": "guider", "steps": "sigmas",
            "sampler": "chosen", "scheduler": "sigmas", "width": "4", "model": "1",
        }  # fmt: skip
        assert {key: controls[key].targets[0].node for key in expected} == expected

    def test_find_controls_two_stages_share_seed_control(self):
        graph = sampling_graph()
        second = {**graph["5"]["inputs"], "latent_image": ["5", 0], "steps": 10}
        graph |= graph_of(second=("KSampler", second))
        graph["6"]["inputs"]["samples"] = ["second", 0]
        controls = controls_of_graph(graph)
        assert controls["seed"].targets == (("5", "seed"), ("second", "seed"))
        assert controls["steps"].targets == (("5", "steps"),)
        assert controls["steps_2"].advanced

    def test_find_controls_stage_without_noise_has_no_seed(self):
        server = SERVER | {
            "KSamplerAdvanced": node_class(
                {
                    **SERVER["KSampler"]["input"]["required"],
                    "add_noise": [["enable", "disable"]],
                    "noise_seed": SEED,
                },
                outputs=("LATENT",),
            )
        }
        graph = sampling_graph()
        inputs = {k: v for k, v in graph["5"]["inputs"].items() if k != "seed"}
        graph |= graph_of(
            **{"5": ("KSamplerAdvanced", {**inputs, "noise_seed": 9, "add_noise": "disable"})}
        )
        assert "seed" not in controls_of_graph(graph, server)

    def test_find_controls_image_to_image_has_image_and_strength(self):
        graph = sampling_graph(
            picture=("LoadImage", {"image": "cat.png"}),
            latent=("VAEEncode", {"pixels": ["picture", 0], "vae": ["1", 2]}),
        )
        graph["5"]["inputs"]["denoise"] = 0.6
        controls = controls_of_graph(graph)
        assert controls["image"].kind == "file"
        assert controls["image"].choices is None
        assert not controls["image"].advanced
        assert not controls["strength"].advanced

    def test_find_controls_lora_has_file_and_strengths(self):
        lora = {"model": ["1", 0], "clip": ["1", 1], "lora_name": "x.safetensors"}
        graph = sampling_graph(
            l=("LoraLoader", {**lora, "strength_model": 0.8, "strength_clip": 0.8})
        )
        graph["5"]["inputs"]["model"] = ["l", 0]
        controls = controls_of_graph(graph)
        assert controls["lora"].choices == ("x.safetensors", "y.safetensors")
        strengths = [control for control in controls.values() if control.label.startswith("LoRA s")]
        assert [control.targets for control in strengths] == [
            (("l", "strength_model"),),
            (("l", "strength_clip"),),
        ]

    def test_find_controls_other_node_uses_input_names(self):
        server = {
            "Partner": node_class(
                {"prompt": TEXT, "seed": SEED, "aspect_ratio": [["1:1", "9:16"]],
                 "system_prompt": TEXT},
                outputs=("IMAGE",),
            ),
            "SaveImage": SERVER["SaveImage"],
        }  # fmt: skip
        graph = graph_of(
            p=("Partner", {
                "prompt": "", "seed": 1, "aspect_ratio": "1:1", "system_prompt": "Be kind.",
            }),
            s=("SaveImage", {"images": ["p", 0], "filename_prefix": "x"}),
        )  # fmt: skip
        assert shown_ids(controls_of_graph(graph, server)) == ["prompt", "aspect_ratio", "seed"]

    def test_find_controls_dynamic_combo_offers_choices_with_inputs(self):
        graph = sampling_graph(
            s=("Save", {"images": ["6", 0], "format": "png", "format.depth": "8"})
        )
        assert controls_of_graph(graph)["format"].choices == ("auto", "png")
        graph["s"]["inputs"] = {"images": ["6", 0], "format": "auto"}
        assert controls_of_graph(graph)["format"].choices == ("auto",)


class TestFindControlsWithAuthorHints:
    def promoted(self) -> File:
        """Build a subgraph of the sampler and its texts with four promoted widgets."""
        plain = text_to_image()
        inside = File()
        inside.nodes = [node for node in plain.nodes if node["type"] in ("KSampler", "ImageScale")]
        text = inside.add("CLIPTextEncode", "inner")
        sampler = inside.nodes[0]
        sampler["inputs"] = []
        for port, (node, name, kind) in enumerate([
            (text, "text", "STRING"), (sampler, "steps", "INT"), (sampler, "seed", "INT"),
            (sampler, "scheduler", "COMBO"),
        ]):  # fmt: skip
            inside.link(border(-10), port, node, name, kind, widget={"name": name})
        inside.link(text, 0, sampler, "positive", "CONDITIONING")
        inside.link(border(-10), 4, sampler, "latent_image", "LATENT")
        inside.link(sampler, 0, border(-20), "LATENT", "LATENT")
        file = File()
        ports = [
            {"name": "text", "type": "STRING", "label": "What to paint"},
            {"name": "steps", "type": "INT"},
            {"name": "seed", "type": "INT"},
            {"name": "scheduler", "type": "COMBO", "label": "Style of steps"},
            {"name": "latent_image", "type": "LATENT"},
        ]
        file.define(inside, ports, [{"name": "LATENT", "type": "LATENT"}])
        latent, host = file.add("EmptyLatentImage", 512, 512, 1), file.add("sub", "outer", 8, 3)
        decode, save = file.add("VAEDecode"), file.add("SaveImage", "x")
        file.link(latent, 0, host, "latent_image", "LATENT")
        file.link(host, 0, decode, "samples", "LATENT")
        file.link(decode, 0, save, "images", "IMAGE")
        return file

    def test_find_controls_promoted_widgets_keep_labels_and_values(self):
        controls = controls_of_file(self.promoted())
        assert controls["prompt"].label == "What to paint"
        assert controls["prompt"].default == "outer"
        assert controls["prompt"].targets[0].node.startswith("2:")
        assert controls["steps"].default == 8
        assert controls["scheduler"].label == "Style of steps"

    def test_find_controls_app_mode_selects_and_orders_shown_controls(self):
        file = text_to_image()
        entries = [["5", "steps"], [2, "text"], ["99", "gone"], "nonsense", [None, 3]]
        file.extra["linearData"] = {"inputs": entries, "outputs": ["7"]}
        assert shown_ids(controls_of_file(file)) == ["steps", "prompt"]

    def test_find_controls_app_mode_accepts_both_subgraph_spellings(self):
        file = self.promoted()
        for place in ("2", "0d3f-uuid:2:steps"):
            file.extra["linearData"] = {"inputs": [[place, "steps"], [place, "text"]]}
            controls = controls_of_file(file)
            assert shown_ids(controls) == ["steps", "prompt"]
            assert controls["prompt"].label == "What to paint"

    def test_find_controls_empty_app_mode_is_ignored(self):
        file = text_to_image()
        file.extra["linearData"] = {"inputs": [], "outputs": []}
        assert "prompt" in shown_ids(controls_of_file(file))

    def test_find_controls_editor_primitive_with_two_targets_is_one_control(self):
        file = text_to_image()
        primitive = file.add("PrimitiveNode", 640, "fixed", title="Side")
        for name in ("width", "height"):
            file.link(primitive, 0, file.nodes[3], name, "INT", widget={"name": name})
        controls = controls_of_file(file)
        side = next(control for control in controls.values() if control.label == "Side")
        assert set(side.targets) == {("4", "width"), ("4", "height")}

    def test_find_controls_titled_primitive_is_shown_with_title(self):
        graph = sampling_graph(
            turbo=("Switchable", {"value": True}, "Turbo mode"),
            switch=("Switch", {"switch": ["turbo", 0], "on_false": ["1", 0], "on_true": ["1", 0]}),
        )
        graph["turbo"]["class_type"] = "PrimitiveBoolean"
        graph["5"]["inputs"]["model"] = ["switch", 0]
        server = SERVER | {
            "PrimitiveBoolean": node_class({"value": ["BOOLEAN", {}]}, outputs=("BOOLEAN",))
        }
        controls = controls_of_graph(graph, server)
        assert controls["turbo_mode"].kind == "bool"
        assert not controls["turbo_mode"].advanced

    @pytest.mark.parametrize(
        ("class_type", "inputs", "label", "group"),
        [
            ("SwarmInputInteger", {"title": "How many", "value": 4, "min": 1, "max": 8},
             "How many", ""),
            ("ETN_Parameter", {"name": "Paint/2. How many", "type": "number (integer)",
                               "default": 4, "min": 1, "max": 8}, "How many", "Paint"),
            ("CozyGenIntInput", {"param_name": "How many", "priority": 3, "default_value": 4,
                                 "min_value": 1, "max_value": 8}, "How many", ""),
            ("CPackInputInt", {"value": 4}, "How many", ""),
        ],
    )  # fmt: skip
    def test_find_controls_parameter_nodes_define_form(self, class_type, inputs, label, group):
        numbers = {key: ["INT", {}] for key, value in inputs.items() if isinstance(value, int)}
        texts = {key: ["STRING", {}] for key, value in inputs.items() if isinstance(value, str)}
        server = SERVER | {class_type: node_class(numbers | texts, outputs=("INT",))}
        graph = sampling_graph(p=(class_type, inputs, "How many"))
        graph["4"]["inputs"]["batch_size"] = ["p", 0]
        controls = controls_of_graph(graph, server)
        assert shown_ids(controls) == ["batch"]
        batch = controls["batch"]
        assert (batch.label, batch.default) == (label, 4)
        assert batch.group == (group or "Main")
        if "min" in inputs or "min_value" in inputs:
            assert (batch.min, batch.max) == (1, 8)

    def test_find_controls_parameter_nodes_follow_order_priority(self):
        server = SERVER | {
            "SwarmInputText": node_class(
                {"title": ["STRING"], "value": TEXT, "order_priority": ["FLOAT"],
                 "is_advanced": ["BOOLEAN"]},
                outputs=("STRING",),
            )
        }  # fmt: skip
        late = {"title": "Late", "value": "a", "order_priority": 5, "is_advanced": False}
        early = {"title": "Early", "value": "b", "order_priority": -5, "is_advanced": False}
        hidden = {"title": "Hidden", "value": "c", "order_priority": -9, "is_advanced": True}
        graph = sampling_graph(
            l=("SwarmInputText", late), e=("SwarmInputText", early), h=("SwarmInputText", hidden)
        )
        graph["2"]["inputs"]["text"], graph["3"]["inputs"]["text"] = ["l", 0], ["e", 0]
        graph["7"]["inputs"]["filename_prefix"] = ["h", 0]
        controls = controls_of_graph(graph, server)
        assert [controls[key].label for key in shown_ids(controls)] == ["Early", "Late"]


class TestFindControlsForForm:
    def test_find_controls_many_controls_show_about_seven_rows(self):
        graph = sampling_graph()
        assert len(shown_ids(controls_of_graph(graph))) == 8  # width and height share a row
        for number in range(12):
            graph |= graph_of(
                **{f"p{number}": ("PrimitiveString", {"value": "x"}, f"Word {number}")},
                **{f"s{number}": ("SaveImage", {"filename_prefix": [f"p{number}", 0]})},
            )
        assert len(shown_ids(controls_of_graph(graph))) == 8

    def test_find_controls_required_files_are_never_advanced(self):
        graph = sampling_graph()
        for number in range(12):
            graph |= graph_of(
                **{f"p{number}": ("LoadImage", {"image": "cat.png"})},
                **{f"s{number}": ("SaveImage", {"images": [f"p{number}", 0]})},
            )
        controls = controls_of_graph(graph)
        assert (
            sum(control.role == "image" and not control.advanced for control in controls.values())
            == 12
        )

    def test_find_controls_ids_are_unique_identifiers(self):
        graph = sampling_graph()
        for number in range(30):
            title = ["Prompt", "Prompt 2", "!!!", "1st", "Größe"][number % 5]
            graph |= graph_of(
                **{f"p{number}": ("PrimitiveString", {"value": f"{number}"}, title)},
                **{f"e{number}": ("CLIPTextEncode", {"text": [f"p{number}", 0]})},
                **{f"s{number}": ("SaveImage", {"images": [f"e{number}", 0]})},
            )
        ids = [control.id for control in find_controls(graph, SERVER)]
        assert len(ids) == len(set(ids))
        assert all(key.isidentifier() and key.isascii() for key in ids)

    def test_find_controls_registry_and_raw_object_info_are_equivalent(self):
        graph = sampling_graph()
        assert find_controls(graph, SERVER) == find_controls(graph, NodeRegistry(SERVER))

    def test_find_controls_unknown_class_has_no_controls(self):
        graph = sampling_graph(x=("Unheard", {"steps": 3}))
        graph["2"]["inputs"]["text"] = ["x", 0]
        assert all("x" not in {t.node for t in c.targets} for c in find_controls(graph, SERVER))

    def test_find_controls_invalid_editor_file_loses_only_hints(self):
        graph = sampling_graph()
        broken = {"nodes": [{"id": 1}], "extra": {"linearData": {"inputs": [["5", "cfg"]]}}}
        assert find_controls(graph, SERVER, broken)

    @pytest.mark.parametrize("graph", [{"1": {}}, {"1": 5}, {"nodes": []}])
    def test_find_controls_invalid_graph_raises(self, graph):
        with pytest.raises(InvalidWorkflowError):
            find_controls(graph, SERVER)

    def test_find_controls_empty_graph_returns_nothing(self):
        assert find_controls({}, SERVER) == []


class TestApplyValues:
    def test_apply_values_writes_all_targets_and_keeps_original_graph(self):
        graph = sampling_graph()
        second = {**graph["5"]["inputs"], "latent_image": ["5", 0]}
        graph |= graph_of(second=("KSampler", second))
        graph["6"]["inputs"]["samples"] = ["second", 0]
        controls = find_controls(graph, SERVER)
        changed = apply_values(graph, controls, {"seed": 7, "prompt": "a dog"})
        assert changed["5"]["inputs"]["seed"] == changed["second"]["inputs"]["seed"] == 7
        assert changed["2"]["inputs"]["text"] == "a dog"
        assert graph["5"]["inputs"]["seed"] == 42

    def test_apply_values_without_values_returns_equal_graph(self):
        graph = sampling_graph()
        assert apply_values(graph, find_controls(graph, SERVER), {}) == graph

    @pytest.mark.parametrize("seed", [2**53 + 1, 2**64 - 1, str(2**64 - 1)])
    def test_apply_values_seed_of_64_bits_is_written_exactly(self, seed):
        graph = sampling_graph()
        changed = apply_values(graph, find_controls(graph, SERVER), {"seed": seed})
        assert changed["5"]["inputs"]["seed"] == int(seed)

    @pytest.mark.parametrize("seed", [None, -1, "-1", ""])
    def test_apply_values_missing_seed_draws_javascript_safe_seed(self, seed):
        graph = sampling_graph()
        controls = find_controls(graph, SERVER)
        changed = apply_values(graph, controls, {"seed": seed}, rng=random.Random(1))
        again = apply_values(graph, controls, {"seed": seed}, rng=random.Random(1))
        assert 0 <= changed["5"]["inputs"]["seed"] < 2**53
        assert changed == again

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("steps", 0, "starts at 1"),
            ("steps", 151, "up to 150"),
            ("steps", 2.5, "whole number"),
            ("steps", "many", "number"),
            ("steps", True, "number"),
            ("steps", 10**400, "whole number"),
            ("cfg", float("nan"), "number"),
            ("cfg", [1], "number"),
            ("sampler", "eular", "euler"),
            ("prompt", 5, "text"),
            ("promt", "x", "prompt"),
        ],
    )
    def test_apply_values_invalid_value_raises_with_hint(self, name, value, message):
        graph = sampling_graph()
        with pytest.raises(ValidationError, match=message):
            apply_values(graph, find_controls(graph, SERVER), {name: value})

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("steps", "12", 12),
            ("steps", 12.0, 12),
            ("cfg", "2.5", 2.5),
            ("sampler", "euler", "euler"),
        ],
    )
    def test_apply_values_numeric_text_is_converted(self, name, value, expected):
        graph = sampling_graph()
        controls = find_controls(graph, SERVER)
        node, target = next(c for c in controls if c.id == name).targets[0]
        written = apply_values(graph, controls, {name: value})[node]["inputs"][target]
        assert written == expected
        assert type(written) is type(expected)

    def test_apply_values_custom_combo_updates_index(self):
        options = {"choice": "a", "index": 0, "option1": "a", "option2": "b", "option3": ""}
        graph = graph_of(c=("CustomCombo", options, "Kind"))
        controls = find_controls(graph, SERVER)
        assert controls[0].choices == ("a", "b")
        changed = apply_values(graph, controls, {"kind": "b"})
        assert changed["c"]["inputs"]["index"] == 1


class TestLabels:
    """Labels and headings of graphs with several stages, and technical inputs."""

    def two_stages(self) -> File:
        """Return the default workflow with a second sampler that has texts of its own."""
        file = text_to_image()
        loader, negative, first, decode = (file.nodes[index] for index in (0, 2, 4, 5))
        text = file.add("CLIPTextEncode", "a dog", title="Positive")
        second = file.add("KSampler", 7, "randomize", 9, 5.0, "euler", "karras", 0.4)
        file.link(loader, 1, text, "clip", "CLIP")
        file.link(loader, 0, second, "model", "MODEL")
        file.link(text, 0, second, "positive", "CONDITIONING")
        file.link(negative, 0, second, "negative", "CONDITIONING")
        file.link(first, 0, second, "latent_image", "LATENT")
        file.link(second, 0, decode, "samples", "LATENT")
        return file

    def test_find_controls_equal_labels_name_what_they_feed(self):
        labels = [c.label for c in controls_of_file(self.two_stages()).values()]
        assert {"Seed (KSampler 1)", "Seed (KSampler 2)", "Strength (KSampler 2)"} <= {*labels}
        assert {"Prompt (KSampler 1)", "Prompt (KSampler 2)"} <= {*labels}
        assert "Sampler" in labels  # one value for both
        assert len(labels) == len({*labels})

    def test_find_controls_equal_titles_are_numbered(self):
        graph = graph_of(
            a=("LoadImage", {"image": "cat.png"}, "Picture"),
            b=("LoadImage", {"image": "dog.png"}, "Picture"),
            batch=("Batch", {"images.image0": ["a", 0], "images.image1": ["b", 0]}),
            save=("SaveImage", {"images": ["batch", 0]}),
        )
        labels = [c.label for c in controls_of_graph(graph).values() if c.role == "image"]
        assert labels == ["Image 1", "Image 2"]

    def test_find_controls_headings_are_the_groups_of_the_author(self):
        file = self.two_stages().json
        for node in file["nodes"]:
            node |= {"pos": [1000 * (node["id"] >= 8), 0], "size": {"0": 100, "1": 100}}
        file["groups"] = [
            {"title": "[[First pass]]", "bounding": [-10, -10, 500, 500]},
            {"title": "=== Second pass ===", "bounding": [990, -10, 500, 500]},
            {"title": "Everything", "bounding": [-99, -99, 5000, 5000]},
            {"title": "Broken", "bounding": ["x"]},
        ]
        graph = convert_workflow(file, SERVER)
        advanced = [c for c in find_controls(graph, SERVER, file) if c.advanced and not c.hidden]
        headings = list(dict.fromkeys(control.group for control in advanced))
        assert headings[:2] == ["First pass", "Second pass"]
        assert "Sampling" in headings  # the sampler's name is a value of both
        assert {c.group for c in advanced if c.role == "steps"} == {"Second pass"}

    def test_find_controls_instances_of_a_subgraph_are_numbered_headings(self):
        inside, file = File(), File()
        inside.link(border(-10), 0, blur := inside.add("ImageScale", "area", 64), "image", "IMAGE")
        inside.link(blur, 0, border(-20), "IMAGE", "IMAGE")
        port = [{"name": "IMAGE", "type": "IMAGE"}]
        file.define(inside, port, port, key="Shrink")
        picture = file.add("LoadImage", "cat.png")
        one, two = file.add("Shrink"), file.add("Shrink")
        file.link(picture, 0, one, "IMAGE", "IMAGE")
        file.link(one, 0, two, "IMAGE", "IMAGE")
        file.link(two, 0, file.add("SaveImage", "x"), "images", "IMAGE")
        methods = [
            (control.group, control.label)
            for control in controls_of_file(file).values()
            if control.targets[0].input == "upscale_method"
        ]
        assert methods == [("Shrink 1", "Upscale method"), ("Shrink 2", "Upscale method")]

    def test_find_controls_technical_inputs_are_hidden_unless_the_author_chose_them(self):
        file = text_to_image()
        prefix = next(
            c for c in controls_of_file(file).values() if c.targets[0].input == "filename_prefix"
        )
        assert prefix.hidden
        file.extra["linearData"] = {"inputs": [["7", "filename_prefix"]], "outputs": []}
        assert not controls_of_file(file)[prefix.id].hidden

    def test_sections_doctests_pass(self):
        assert doctest.testmod(sections).failed == doctest.testmod(name_clues).failed == 0


class TestOutputs:
    def test_find_outputs_those_of_app_mode_come_first(self):
        file = text_to_image()
        extra = file.add("SaveImage", "second")
        file.link(file.nodes[5], 0, extra, "images", "IMAGE")
        graph = convert_workflow(file.json, SERVER)
        assert [output.node for output in find_outputs(graph, SERVER, file.json)] == ["7", "8"]
        file.extra["linearData"] = {"inputs": [], "outputs": [8, ["odd"], "99"]}
        assert [output.node for output in find_outputs(graph, SERVER, file.json)] == ["8", "7"]
        preset = preset_from_workflow(graph, SERVER, title="x", editor=file.json)
        assert preset.outputs[0].node == next(iter(preset.graph)) == "8"

    def test_find_outputs_lists_kinds_with_files_before_previews(self):
        server = SERVER | {
            "SaveVideo": node_class({"video": ["VIDEO"]}, output_node=True),
            "SaveGLB": node_class({"mesh": ["MESH,FILE_3D"]}, output_node=True),
            "SaveText": node_class({"text": ["STRING"]}, output_node=True),
            "SaveAudio": node_class({"audio": ["AUDIO"]}, output_node=True),
        }
        graph = sampling_graph(
            p=("PreviewImage", {"images": ["6", 0]}),
            v=("SaveVideo", {}), g=("SaveGLB", {}), t=("SaveText", {}), a=("SaveAudio", {}),
        )  # fmt: skip
        outputs = find_outputs(graph, server)
        assert [(output.node, output.kind) for output in outputs] == [
            ("7", "image"), ("v", "video"), ("g", "3d"), ("t", "text"), ("a", "audio"),
            ("p", "image"),
        ]  # fmt: skip
        assert [output.node for output in outputs if output.temporary] == ["p"]


@pytest.mark.slow
@settings(max_examples=300)
@given(value=JSON, seed=st.integers(0, 2**32))
def test_find_controls_any_mutation_raises_or_returns_controls(value, seed):
    graph = mutate(sampling_graph(), value, random.Random(seed))
    try:
        controls = find_controls(graph, SERVER)
    except InvalidWorkflowError:
        return
    for control in controls:
        assert control.targets
    apply_values(graph, controls, {control.id: control.default for control in controls})
    find_outputs(graph, SERVER)


@pytest.mark.slow
@pytest.mark.parametrize("link", ["latent_image", "model"])
def test_find_controls_ten_thousand_samplers_take_seconds(link):
    default_inputs = sampling_graph()["5"]["inputs"]
    graph = sampling_graph()
    for number in range(10_000):
        before = f"k{number - 1}" if number else "5"
        graph |= graph_of(**{f"k{number}": ("KSampler", {**default_inputs, link: [before, 0]})})
    graph["6"]["inputs"]["samples"] = ["k9999", 0]
    start = process_time()
    assert find_controls(graph, SERVER)
    assert process_time() - start < 20


def test_find_controls_sides_to_extend_have_roles() -> None:
    server = recorded_object_info("0.33.0")
    graph = graph_of(
        load=("LoadImage", {"image": "a.png"}),
        pad=(
            "ImagePadForOutpaint",
            {"image": ["load", 0], "left": 0, "top": 8, "right": 0, "bottom": 8, "feathering": 40},
        ),
        save=("SaveImage", {"images": ["pad", 0], "filename_prefix": "x"}),
    )
    roles = {c.targets[0].input: c.role for c in find_controls(graph, server)}
    assert roles["left"] == "outpaint_left"
    assert roles["bottom"] == "outpaint_bottom"
    assert roles["feathering"] == "int"
