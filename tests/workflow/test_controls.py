"""Controls found in small graphs, one rule at a time."""

from __future__ import annotations

import random
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from comfy_ui.errors import InvalidWorkflowError, ValidationError
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.workflow.controls import Control, apply_values, find_controls, find_outputs
from comfy_ui.workflow.editor import convert_workflow
from comfy_ui.workflow.fields.field_types import MAX_SEED
from tests.workflow.editor_files import SEED, SERVER, TEXT, File, border, node_class, text_to_image
from tests.workflow.test_editor_hostile import JSON, mutations

Graph = dict[str, Any]


def controls(file: File, server: Any = SERVER) -> dict[str, Control]:
    graph = convert_workflow(file.json, server)
    return {control.id: control for control in find_controls(graph, server, file.json)}


def main(found: dict[str, Control]) -> list[str]:
    return [control.id for control in found.values() if not control.advanced]


def graph_of(**nodes: Any) -> Graph:
    """An API-format graph: name=(class, inputs) or (class, inputs, title)."""
    return {
        key: {
            "class_type": entry[0],
            "inputs": entry[1],
            "_meta": {"title": entry[2] if len(entry) > 2 else entry[0]},
        }
        for key, entry in nodes.items()
    }


def found_in(graph: Graph, server: Any = SERVER) -> dict[str, Control]:
    return {control.id: control for control in find_controls(graph, server)}


def sampled(**changes: Any) -> Graph:
    """The usual graph; ``changes`` replace or add nodes."""
    graph = convert_workflow(text_to_image().json, SERVER)
    names = {"loader": "1", "positive": "2", "negative": "3", "latent": "4", "sampler": "5"}
    added = graph_of(**changes)
    return graph | {names.get(key, key): node for key, node in added.items()}


class TestTheUsualWorkflow:
    def test_the_form_has_what_people_set_in_the_order_that_they_set_it(self):
        found = controls(text_to_image())
        assert main(found) == [
            "prompt", "negative", "width", "height", "seed", "batch", "steps", "cfg",
        ]  # fmt: skip
        assert {"sampler", "scheduler", "model", "strength"} < found.keys()

    def test_every_value_that_counts_belongs_to_exactly_one_control(self):
        targets = [target for c in controls(text_to_image()).values() for target in c.targets]
        assert len(targets) == len(set(targets))
        assert set(targets) == {
            ("1", "ckpt_name"), ("2", "text"), ("3", "text"), ("4", "width"), ("4", "height"),
            ("4", "batch_size"), ("5", "seed"), ("5", "steps"), ("5", "cfg"), ("5", "denoise"),
            ("5", "sampler_name"), ("5", "scheduler"), ("7", "filename_prefix"),
        }  # fmt: skip

    def test_positive_and_negative_are_told_apart_by_where_they_lead(self):
        found = controls(text_to_image())
        assert found["prompt"].default == "a cat"
        assert found["negative"].default == "blurry"
        assert found["prompt"].multiline

    def test_ranges_steps_and_choices_are_the_server_s_and_absurd_ones_are_narrowed(self):
        found = controls(text_to_image())
        assert (found["width"].min, found["width"].max, found["width"].step) == (16, 4096, 8)
        assert (found["steps"].min, found["steps"].max) == (1, 150)
        assert (found["seed"].min, found["seed"].max) == (0, MAX_SEED)
        assert found["cfg"].step == 0.1
        assert found["sampler"].choices == ("euler", "dpmpp_2m")
        assert found["model"].choices == ("a.safetensors", "b.safetensors")

    def test_the_graph_s_own_value_is_always_within_the_range(self):
        file = text_to_image()
        file.nodes[3]["widgets_values"] = [8192, 512, 200]
        found = controls(file)
        assert found["width"].max == 8192
        assert found["batch"].max == 200

    def test_a_seed_that_javascript_would_round_starts_at_the_largest_exact_one(self):
        file = text_to_image()
        file.nodes[4]["widgets_values"][0] = 2**64 - 1
        assert controls(file)["seed"].default == MAX_SEED

    def test_what_no_output_needs_has_no_control(self):
        file = text_to_image()
        file.add("CLIPTextEncode", "forgotten")
        assert all(("8", "text") not in control.targets for control in controls(file).values())

    def test_a_cfg_of_one_without_effect_is_advanced(self):
        file = text_to_image()
        file.nodes[4]["widgets_values"][3] = 1.0
        assert controls(file)["cfg"].advanced


class TestReadingTheGraph:
    def test_a_zeroed_negative_is_no_negative_prompt(self):
        graph = sampled(z=("ConditioningZeroOut", {"conditioning": ["2", 0]}))
        graph["5"]["inputs"]["negative"] = ["z", 0]
        found = found_in(graph)
        assert "negative" not in found
        assert found["prompt"].targets == (("2", "text"),)

    def test_a_text_that_both_sides_use_is_the_prompt(self):
        graph = sampled()
        graph["5"]["inputs"]["negative"] = ["2", 0]
        assert "negative" not in found_in(graph)

    def test_nodes_that_take_both_sides_hand_each_on_by_its_name(self):
        server = SERVER | {
            "Control": node_class(
                {"positive": ["CONDITIONING"], "negative": ["CONDITIONING"], "points": TEXT},
                gives=("MODEL", "CONDITIONING", "CONDITIONING"),
            )
        }
        both = {"positive": ["2", 0], "negative": ["3", 0], "points": "[1, 2]"}
        graph = sampled(c=("Control", both))
        graph["5"]["inputs"] |= {"positive": ["c", 1], "negative": ["c", 2]}
        found = found_in(graph, server)
        assert found["prompt"].default == "a cat"
        assert found["negative"].default == "blurry"

    def test_values_are_followed_to_the_primitive_that_sets_them(self):
        graph = sampled(
            n=("PrimitiveInt", {"value": 12}), t=("PrimitiveString", {"value": "a fox"})
        )
        graph["5"]["inputs"]["steps"] = ["n", 0]
        graph["2"]["inputs"]["text"] = ["t", 0]
        found = found_in(graph)
        assert found["steps"].targets == (("n", "value"),)
        assert (found["steps"].min, found["steps"].max) == (1, 150)
        assert found["prompt"].targets == (("t", "value"),)

    def test_of_several_texts_the_likeliest_is_the_prompt(self):
        server = SERVER | {
            "Join": node_class(
                {"string_a": TEXT, "string_b": TEXT, "delimiter": ["STRING"]}, gives=("STRING",)
            )
        }
        graph = sampled(
            p=("PrimitiveString", {"value": "a fox"}, "Prompt"),
            s=("PrimitiveString", {"value": "You are a painter."}, "System prompt"),
            j=("Join", {"string_a": ["s", 0], "string_b": ["p", 0], "delimiter": ", "}),
        )
        graph["2"]["inputs"]["text"] = ["j", 0]
        assert found_in(graph, server)["prompt"].targets == (("p", "value"),)

    def test_sizes_that_are_computed_are_set_where_the_computation_starts(self):
        server = SERVER | {
            "Math": node_class({"expression": TEXT, "a": ["INT,FLOAT"]}, gives=("INT",)),
            "Resolution": node_class(
                {"aspect_ratio": [["1:1", "16:9"]], "megapixels": ["FLOAT", {"default": 1.0}]},
                gives=("INT", "INT"),
            ),
        }
        graph = sampled(
            w=("PrimitiveInt", {"value": 1280}, "Width"),
            m=("Math", {"expression": "a / 2", "a": ["w", 0]}),
        )
        graph["4"]["inputs"]["width"] = ["m", 0]
        assert found_in(graph, server)["width"].targets == (("w", "value"),)
        graph = sampled(r=("Resolution", {"aspect_ratio": "16:9", "megapixels": 1.0}))
        graph["4"]["inputs"] |= {"width": ["r", 0], "height": ["r", 1]}
        found = found_in(graph, server)
        assert found["aspect_ratio"].choices == ("1:1", "16:9")
        assert not found["aspect_ratio"].advanced
        assert "width" not in found

    def test_one_number_for_both_sides_is_neither_width_nor_height(self):
        graph = sampled(side=("PrimitiveInt", {"value": 1024}, "Side"))
        graph["4"]["inputs"] |= {"width": ["side", 0], "height": ["side", 0]}
        found = found_in(graph)
        assert found["side"].role == "int"
        assert not {"width", "height"} & found.keys()

    def test_a_sampler_in_parts_is_read_through_its_parts(self):
        server = SERVER | {
            "SamplerCustomAdvanced": node_class(
                {"noise": ["NOISE"], "guider": ["GUIDER"], "sampler": ["SAMPLER"],
                 "sigmas": ["SIGMAS"], "latent_image": ["LATENT"]},
                gives=("LATENT", "LATENT"),
            ),
            "RandomNoise": node_class({"noise_seed": SEED}, gives=("NOISE",)),
            "CFGGuider": node_class(
                {"model": ["MODEL"], "positive": ["CONDITIONING"],
                 "negative": ["CONDITIONING"], "cfg": ["FLOAT", {"default": 8.0}]},
                gives=("GUIDER",),
            ),
            "KSamplerSelect": node_class({"sampler_name": [["euler"]]}, gives=("SAMPLER",)),
            "BasicScheduler": node_class(
                {"model": ["MODEL"], "scheduler": [["simple"]], "steps": ["INT"],
                 "denoise": ["FLOAT"]},
                gives=("SIGMAS",),
            ),
            "SplitSigmas": node_class(
                {"sigmas": ["SIGMAS"], "step": ["INT"]}, gives=("SIGMAS", "SIGMAS")
            ),
        }  # fmt: skip
        guided = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "cfg": 4.0}
        scheduled = {"model": ["1", 0], "scheduler": "simple", "steps": 9, "denoise": 1.0}
        graph = sampled(
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
        found = found_in(graph, server)
        expected = {
            "prompt": "2", "negative": "3", "seed": "noise", "cfg": "guider", "steps": "sigmas",
            "sampler": "chosen", "scheduler": "sigmas", "width": "4", "model": "1",
        }  # fmt: skip
        assert {key: found[key].targets[0].node for key in expected} == expected

    def test_two_stages_with_one_seed_have_one_control_for_it(self):
        graph = sampled()
        second = {**graph["5"]["inputs"], "latent_image": ["5", 0], "steps": 10}
        graph |= graph_of(second=("KSampler", second))
        graph["6"]["inputs"]["samples"] = ["second", 0]
        found = found_in(graph)
        assert found["seed"].targets == (("5", "seed"), ("second", "seed"))
        assert found["steps"].targets == (("5", "steps"),)
        assert found["steps_2"].advanced

    def test_a_stage_that_adds_no_noise_has_no_seed(self):
        server = SERVER | {
            "KSamplerAdvanced": node_class(
                {
                    **SERVER["KSampler"]["input"]["required"],
                    "add_noise": [["enable", "disable"]],
                    "noise_seed": SEED,
                },
                gives=("LATENT",),
            )
        }
        graph = sampled()
        inputs = {k: v for k, v in graph["5"]["inputs"].items() if k != "seed"}
        graph |= graph_of(
            **{"5": ("KSamplerAdvanced", {**inputs, "noise_seed": 9, "add_noise": "disable"})}
        )
        assert "seed" not in found_in(graph, server)

    def test_a_picture_to_start_from_brings_a_picture_and_a_strength(self):
        graph = sampled(
            picture=("LoadImage", {"image": "cat.png"}),
            latent=("VAEEncode", {"pixels": ["picture", 0], "vae": ["1", 2]}),
        )
        graph["5"]["inputs"]["denoise"] = 0.6
        found = found_in(graph)
        assert found["image"].kind == "file"
        assert found["image"].choices is None
        assert not found["image"].advanced
        assert not found["strength"].advanced

    def test_a_lora_has_its_file_and_its_strengths(self):
        lora = {"model": ["1", 0], "clip": ["1", 1], "lora_name": "x.safetensors"}
        graph = sampled(l=("LoraLoader", {**lora, "strength_model": 0.8, "strength_clip": 0.8}))
        graph["5"]["inputs"]["model"] = ["l", 0]
        found = found_in(graph)
        assert found["lora"].choices == ("x.safetensors", "y.safetensors")
        strengths = [control for control in found.values() if control.label.startswith("LoRA s")]
        assert [control.targets for control in strengths] == [
            (("l", "strength_model"),),
            (("l", "strength_clip"),),
        ]

    def test_a_node_that_is_not_about_sampling_is_read_by_the_names_of_its_inputs(self):
        server = {
            "Partner": node_class(
                {"prompt": TEXT, "seed": SEED, "aspect_ratio": [["1:1", "9:16"]],
                 "system_prompt": TEXT},
                gives=("IMAGE",),
            ),
            "SaveImage": SERVER["SaveImage"],
        }  # fmt: skip
        graph = graph_of(
            p=("Partner", {
                "prompt": "", "seed": 1, "aspect_ratio": "1:1", "system_prompt": "Be kind.",
            }),
            s=("SaveImage", {"images": ["p", 0], "filename_prefix": "x"}),
        )  # fmt: skip
        assert main(found_in(graph, server)) == ["prompt", "aspect_ratio", "seed"]

    def test_a_dynamic_choice_offers_only_what_the_graph_has_inputs_for(self):
        graph = sampled(s=("Save", {"images": ["6", 0], "format": "png", "format.depth": "8"}))
        assert found_in(graph)["format"].choices == ("auto", "png")
        graph["s"]["inputs"] = {"images": ["6", 0], "format": "auto"}
        assert found_in(graph)["format"].choices == ("auto",)


class TestWhatTheAuthorSaid:
    def promoted(self) -> File:
        """The sampler and its texts inside a subgraph, with four fields on its face."""
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

    def test_fields_on_the_face_of_a_subgraph_come_with_their_labels_and_values(self):
        found = controls(self.promoted())
        assert found["prompt"].label == "What to paint"
        assert found["prompt"].default == "outer"
        assert found["prompt"].targets[0].node.startswith("2:")
        assert found["steps"].default == 8
        assert found["scheduler"].label == "Style of steps"

    def test_app_mode_decides_alone_on_what_is_shown_and_in_which_order(self):
        file = text_to_image()
        entries = [["5", "steps"], [2, "text"], ["99", "gone"], "nonsense", [None, 3]]
        file.extra["linearData"] = {"inputs": entries, "outputs": ["7"]}
        assert main(controls(file)) == ["steps", "prompt"]

    def test_app_mode_names_fields_of_a_subgraph_in_both_spellings(self):
        file = self.promoted()
        for place in ("2", "0d3f-uuid:2:steps"):
            file.extra["linearData"] = {"inputs": [[place, "steps"], [place, "text"]]}
            found = controls(file)
            assert main(found) == ["steps", "prompt"]
            assert found["prompt"].label == "What to paint"

    def test_an_empty_app_mode_says_nothing(self):
        file = text_to_image()
        file.extra["linearData"] = {"inputs": [], "outputs": []}
        assert "prompt" in main(controls(file))

    def test_an_editor_primitive_that_feeds_two_fields_is_one_control(self):
        file = text_to_image()
        primitive = file.add("PrimitiveNode", 640, "fixed", title="Side")
        for name in ("width", "height"):
            file.link(primitive, 0, file.nodes[3], name, "INT", widget={"name": name})
        found = controls(file)
        side = next(control for control in found.values() if control.label == "Side")
        assert set(side.targets) == {("4", "width"), ("4", "height")}

    def test_a_titled_primitive_is_shown_under_its_title(self):
        graph = sampled(
            turbo=("Switchable", {"value": True}, "Turbo mode"),
            switch=("Switch", {"switch": ["turbo", 0], "on_false": ["1", 0], "on_true": ["1", 0]}),
        )
        graph["turbo"]["class_type"] = "PrimitiveBoolean"
        graph["5"]["inputs"]["model"] = ["switch", 0]
        server = SERVER | {
            "PrimitiveBoolean": node_class({"value": ["BOOLEAN", {}]}, gives=("BOOLEAN",))
        }
        found = found_in(graph, server)
        assert found["turbo_mode"].kind == "bool"
        assert not found["turbo_mode"].advanced

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
    def test_parameter_nodes_are_the_form(self, class_type, inputs, label, group):
        numbers = {key: ["INT", {}] for key, value in inputs.items() if isinstance(value, int)}
        texts = {key: ["STRING", {}] for key, value in inputs.items() if isinstance(value, str)}
        server = SERVER | {class_type: node_class(numbers | texts, gives=("INT",))}
        graph = sampled(p=(class_type, inputs, "How many"))
        graph["4"]["inputs"]["batch_size"] = ["p", 0]
        found = found_in(graph, server)
        assert main(found) == ["batch"]
        batch = found["batch"]
        assert (batch.label, batch.default) == (label, 4)
        assert batch.group == (group or "Main")
        if "min" in inputs or "min_value" in inputs:
            assert (batch.min, batch.max) == (1, 8)

    def test_parameter_nodes_are_ordered_by_what_they_say(self):
        server = SERVER | {
            "SwarmInputText": node_class(
                {"title": ["STRING"], "value": TEXT, "order_priority": ["FLOAT"],
                 "is_advanced": ["BOOLEAN"]},
                gives=("STRING",),
            )
        }  # fmt: skip
        late = {"title": "Late", "value": "a", "order_priority": 5, "is_advanced": False}
        early = {"title": "Early", "value": "b", "order_priority": -5, "is_advanced": False}
        hidden = {"title": "Hidden", "value": "c", "order_priority": -9, "is_advanced": True}
        graph = sampled(
            l=("SwarmInputText", late), e=("SwarmInputText", early), h=("SwarmInputText", hidden)
        )
        graph["2"]["inputs"]["text"], graph["3"]["inputs"]["text"] = ["l", 0], ["e", 0]
        graph["7"]["inputs"]["filename_prefix"] = ["h", 0]
        found = found_in(graph, server)
        assert [found[key].label for key in main(found)] == ["Early", "Late"]


class TestTheForm:
    def test_only_about_seven_rows_are_not_advanced(self):
        graph = sampled()
        assert len(main(found_in(graph))) == 8  # width and height share a row
        for number in range(12):
            graph |= graph_of(
                **{f"p{number}": ("PrimitiveString", {"value": "x"}, f"Word {number}")},
                **{f"s{number}": ("SaveImage", {"filename_prefix": [f"p{number}", 0]})},
            )
        assert len(main(found_in(graph))) == 8

    def test_a_file_that_somebody_must_give_is_never_hidden(self):
        graph = sampled()
        for number in range(12):
            graph |= graph_of(
                **{f"p{number}": ("LoadImage", {"image": "cat.png"})},
                **{f"s{number}": ("SaveImage", {"images": [f"p{number}", 0]})},
            )
        found = found_in(graph)
        assert (
            sum(control.role == "image" and not control.advanced for control in found.values())
            == 12
        )

    def test_ids_are_unique_and_usable_as_names(self):
        graph = sampled()
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

    def test_a_node_library_serves_as_well_as_the_raw_node_list(self):
        graph = sampled()
        assert find_controls(graph, SERVER) == find_controls(graph, NodeRegistry(SERVER))

    def test_classes_that_the_server_lacks_have_no_controls_and_do_no_harm(self):
        graph = sampled(x=("Unheard", {"steps": 3}))
        graph["2"]["inputs"]["text"] = ["x", 0]
        assert all("x" not in {t.node for t in c.targets} for c in find_controls(graph, SERVER))

    def test_an_editor_file_that_cannot_be_read_only_lacks_its_hints(self):
        graph = sampled()
        broken = {"nodes": [{"id": 1}], "extra": {"linearData": {"inputs": [["5", "cfg"]]}}}
        assert find_controls(graph, SERVER, broken)

    @pytest.mark.parametrize("graph", [{"1": {}}, {"1": 5}, {"nodes": []}])
    def test_what_is_no_graph_is_refused(self, graph):
        with pytest.raises(InvalidWorkflowError):
            find_controls(graph, SERVER)

    def test_an_empty_graph_has_no_controls(self):
        assert find_controls({}, SERVER) == []


class TestApplyValues:
    def test_a_value_goes_to_every_target_and_the_graph_stays_as_it_was(self):
        graph = sampled()
        second = {**graph["5"]["inputs"], "latent_image": ["5", 0]}
        graph |= graph_of(second=("KSampler", second))
        graph["6"]["inputs"]["samples"] = ["second", 0]
        found = find_controls(graph, SERVER)
        changed = apply_values(graph, found, {"seed": 7, "prompt": "a dog"})
        assert changed["5"]["inputs"]["seed"] == changed["second"]["inputs"]["seed"] == 7
        assert changed["2"]["inputs"]["text"] == "a dog"
        assert graph["5"]["inputs"]["seed"] == 42

    def test_without_values_the_graph_is_the_same(self):
        graph = sampled()
        assert apply_values(graph, find_controls(graph, SERVER), {}) == graph

    @pytest.mark.parametrize("seed", [None, -1, "-1", ""])
    def test_no_seed_is_a_random_one_that_javascript_can_hold(self, seed):
        graph = sampled()
        found = find_controls(graph, SERVER)
        changed = apply_values(graph, found, {"seed": seed}, rng=random.Random(1))
        again = apply_values(graph, found, {"seed": seed}, rng=random.Random(1))
        assert 0 <= changed["5"]["inputs"]["seed"] <= MAX_SEED
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
    def test_what_a_control_cannot_have_is_refused_with_a_hint(self, name, value, message):
        graph = sampled()
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
    def test_numbers_may_come_as_text_from_a_form(self, name, value, expected):
        graph = sampled()
        found = find_controls(graph, SERVER)
        node, target = next(c for c in found if c.id == name).targets[0]
        written = apply_values(graph, found, {name: value})[node]["inputs"][target]
        assert written == expected
        assert type(written) is type(expected)

    def test_the_place_of_a_choice_follows_the_choice(self):
        options = {"choice": "a", "index": 0, "option1": "a", "option2": "b", "option3": ""}
        graph = graph_of(c=("CustomCombo", options, "Kind"))
        found = find_controls(graph, SERVER)
        assert found[0].choices == ("a", "b")
        changed = apply_values(graph, found, {"kind": "b"})
        assert changed["c"]["inputs"]["index"] == 1


class TestOutputs:
    def test_outputs_come_with_their_kind_files_before_previews(self):
        server = SERVER | {
            "SaveVideo": node_class({"video": ["VIDEO"]}, output_node=True),
            "SaveGLB": node_class({"mesh": ["MESH,FILE_3D"]}, output_node=True),
            "SaveText": node_class({"text": ["STRING"]}, output_node=True),
            "SaveAudio": node_class({"audio": ["AUDIO"]}, output_node=True),
        }
        graph = sampled(
            p=("PreviewImage", {"images": ["6", 0]}),
            v=("SaveVideo", {}), g=("SaveGLB", {}), t=("SaveText", {}), a=("SaveAudio", {}),
        )  # fmt: skip
        outputs = find_outputs(graph, server)
        assert [(output.node, output.kind) for output in outputs] == [
            ("7", "image"), ("v", "video"), ("g", "3d"), ("t", "text"), ("a", "audio"),
            ("p", "image"),
        ]  # fmt: skip
        assert [output.node for output in outputs if output.temporary] == ["p"]


@settings(max_examples=300)
@given(value=JSON, seed=st.integers(0, 2**32))
def test_one_wrong_thing_anywhere_in_a_graph_is_refused_or_has_controls(value, seed):
    graph = mutations(sampled(), value, random.Random(seed))
    try:
        found = find_controls(graph, SERVER)
    except InvalidWorkflowError:
        return
    for control in found:
        assert control.targets
    apply_values(graph, found, {control.id: control.default for control in found})
    find_outputs(graph, SERVER)


@pytest.mark.slow
@pytest.mark.parametrize("link", ["latent_image", "model"])
def test_ten_thousand_samplers_in_a_row_take_seconds_and_not_minutes(link):
    usual = sampled()["5"]["inputs"]
    graph = sampled()
    for number in range(10_000):
        before = f"k{number - 1}" if number else "5"
        graph |= graph_of(**{f"k{number}": ("KSampler", {**usual, link: [before, 0]})})
    graph["6"]["inputs"]["samples"] = ["k9999", 0]
    start = perf_counter()
    assert find_controls(graph, SERVER)
    assert perf_counter() - start < 20
