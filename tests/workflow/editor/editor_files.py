"""Small editor-format files and the object_info of a small server, for tests of single rules."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def node_class(
    required: Json | None = None,
    optional: Json | None = None,
    *,
    outputs: tuple[str, ...] = (),
    output_node: bool = False,
    **more: Any,
) -> Json:
    """Return one entry of /object_info."""
    return {
        "input": {"required": required or {}, "optional": optional or {}},
        "output": [*outputs],
        "output_name": [*outputs],
        "output_node": output_node,
        **more,
    }


SEED = ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}]
TEXT = ["STRING", {"multiline": True, "dynamicPrompts": True}]

SERVER: Json = {
    "CheckpointLoaderSimple": node_class(
        {"ckpt_name": [["a.safetensors", "b.safetensors"]]}, outputs=("MODEL", "CLIP", "VAE")
    ),
    "CLIPTextEncode": node_class(
        {"text": TEXT, "clip": ["CLIP"]},
        outputs=("CONDITIONING",),
        display_name="CLIP Text Encode (Prompt)",
    ),
    "EmptyLatentImage": node_class(
        {
            "width": ["INT", {"default": 512, "min": 16, "max": 16384, "step": 8}],
            "height": ["INT", {"default": 512, "min": 16, "max": 16384, "step": 8}],
            "batch_size": ["INT", {"default": 1, "min": 1, "max": 4096}],
        },
        outputs=("LATENT",),
    ),
    "KSampler": node_class(
        {
            "model": ["MODEL"],
            "seed": SEED,
            "steps": ["INT", {"default": 20, "min": 1, "max": 10000}],
            "cfg": ["FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1}],
            "sampler_name": [["euler", "dpmpp_2m"]],
            "scheduler": [["normal", "karras"]],
            "positive": ["CONDITIONING"],
            "negative": ["CONDITIONING"],
            "latent_image": ["LATENT"],
            "denoise": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}],
        },
        outputs=("LATENT",),
    ),
    "VAEDecode": node_class({"samples": ["LATENT"], "vae": ["VAE"]}, outputs=("IMAGE",)),
    "VAEEncode": node_class({"pixels": ["IMAGE"], "vae": ["VAE"]}, outputs=("LATENT",)),
    "LoraLoader": node_class(
        {
            "model": ["MODEL"],
            "clip": ["CLIP"],
            "lora_name": [["x.safetensors", "y.safetensors"]],
            "strength_model": ["FLOAT", {"default": 1.0, "min": -100.0, "max": 100.0}],
            "strength_clip": ["FLOAT", {"default": 1.0, "min": -100.0, "max": 100.0}],
        },
        outputs=("MODEL", "CLIP"),
    ),
    "ConditioningZeroOut": node_class(
        {"conditioning": ["CONDITIONING"]}, outputs=("CONDITIONING",)
    ),
    "LoadImage": node_class(
        {"image": [["cat.png", "dog.png"], {"image_upload": True}]}, outputs=("IMAGE", "MASK")
    ),
    "SaveImage": node_class(
        {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]},
        output_node=True,
        display_name="Save Image",
    ),
    "PreviewImage": node_class({"images": ["IMAGE"]}, output_node=True),
    "PrimitiveInt": node_class({"value": SEED}, outputs=("INT",), display_name="Int"),
    "PrimitiveString": node_class({"value": ["STRING", {}]}, outputs=("STRING",)),
    "ImageScale": node_class(
        {"image": ["IMAGE"], "upscale_method": ["COMBO", {"options": ["area", "lanczos"]}]},
        {"width": ["INT", {"default": 512}], "note": ["STRING", {}]},
        outputs=("IMAGE",),
    ),
    "Save": node_class(
        {
            "images": ["IMAGE"],
            "format": [
                "COMFY_DYNAMICCOMBO_V3",
                {
                    "options": [
                        {"key": "auto", "inputs": {"required": {}}},
                        {
                            "key": "png",
                            "inputs": {
                                "required": {"depth": ["COMBO", {"options": ["8", "16"]}]},
                                "optional": {"level": ["INT", {"default": 6}]},
                            },
                        },
                    ]
                },
            ],
            "name": ["STRING", {"default": "out"}],
        },
        output_node=True,
    ),
    "Batch": node_class(
        {"images": ["COMFY_AUTOGROW_V3", {
            "template": {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image"},
        }]},
        outputs=("IMAGE",),
    ),
    "Switch": node_class(
        {
            "switch": ["BOOLEAN", {"default": False}],
            "on_false": ["COMFY_MATCHTYPE_V3", {"template": {"allowed_types": "*"}}],
            "on_true": ["COMFY_MATCHTYPE_V3", {"template": {"allowed_types": "*"}}],
        },
        outputs=("*",),
    ),
    "LoraStack": node_class(
        {
            "head": ["STRING", {"default": "h"}],
            "loras": ["COMFY_DYNAMICGROUP_V3", {"min": 0, "max": 3, "template": {
                "required": {"name": ["COMBO", {"options": ["A", "B"]}]},
                "optional": {"strength": ["FLOAT", {"default": 1.0}]},
            }}],
            "tail": ["STRING", {"default": "t"}],
        },
        output_node=True,
    ),
    "CustomCombo": node_class(
        {"choice": ["COMBO", {"options": []}]}, outputs=("STRING", "INT"), output_node=True
    ),
    "ImageCompare": node_class(
        {"compare_view": ["IMAGECOMPARE", {}]}, {"image_a": ["IMAGE"]}, output_node=True
    ),
    "CurveEditor": node_class(
        {"curve": ["CURVE", {"default": [[0, 0], [1, 1]]}]}, output_node=True
    ),
    "Multi": node_class(
        {"tags": ["COMBO", {"options": ["a", "b", "c"], "multiselect": True}]}, output_node=True
    ),
    "Load3D": node_class(
        {
            "model_file": [["none", "toy.glb"]],
            "image": ["LOAD_3D", {}],
            "width": ["INT", {"default": 1024}],
        },
        output_node=True,
    ),
}  # fmt: skip


class File:
    """Builder of an editor-format graph: a file or the inside of a subgraph definition."""

    def __init__(self, *, version: float = 0.4) -> None:
        self.version = version
        self.nodes: list[Json] = []
        self.links: list[tuple[Any, ...]] = []
        self.definitions: list[Json] = []
        self.extra: Json = {}

    def add(self, type_: str, *values: Any, **more: Any) -> Json:
        """Add a node with widget values. ``more`` are keys of the file format."""
        node = {
            "id": len(self.nodes) + 1,
            "type": type_,
            "mode": 0,
            "inputs": [],
            "outputs": [],
            "widgets_values": [*values],
            "properties": {},
            **more,
        }
        self.nodes.append(node)
        return node

    def link(self, origin: Json, slot: int, target: Json, name: str, kind: str, **more: Any) -> int:
        """Add a link, creating sockets as needed. ``more`` are keys of the input."""
        number = len(self.links) + 1
        self.links.append((number, origin["id"], slot, target["id"], len(target["inputs"]), kind))
        while len(origin["outputs"]) <= slot:
            origin["outputs"].append({"name": kind, "type": kind, "links": []})
        origin["outputs"][slot]["links"].append(number)
        target_input = next((i for i in target["inputs"] if i["name"] == name), None)
        if target_input is None:
            target["inputs"].append({"name": name, "type": kind, "link": number, **more})
        else:
            target_input["link"] = number
        return number

    def define(
        self, inside: File, inputs: list[Json], outputs: list[Json], key: str = "sub"
    ) -> str:
        """Add a subgraph definition; ``inside`` links from node -10 and to node -20."""
        self.definitions.append(
            {
                "id": key,
                "name": key,
                "nodes": inside.nodes,
                "links": [_as_object(link) for link in inside.links],
                "inputs": [
                    {**port, "linkIds": [e[0] for e in inside.links if e[1:3] == (-10, index)]}
                    for index, port in enumerate(inputs)
                ],
                "outputs": [
                    {**port, "linkIds": [e[0] for e in inside.links if e[3:5] == (-20, index)]}
                    for index, port in enumerate(outputs)
                ],
            }
        )
        return key

    @property
    def json(self) -> Json:
        links = [[*e] if self.version < 1 else _as_object(e) for e in self.links]
        return {
            "version": self.version,
            "nodes": self.nodes,
            "links": links,
            "definitions": {"subgraphs": self.definitions},
            "extra": self.extra,
        }


def _as_object(link: tuple[Any, ...]) -> Json:
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return dict(zip(names, link, strict=True))


def border(number: int, ports: int = 8) -> Json:
    """Return the pseudo node inside a definition: -10 for its inputs, -20 for its outputs."""
    return {"id": number, "inputs": [], "outputs": [{"links": []} for _ in range(ports)]}


def text_to_image(*, version: float = 0.4) -> File:
    """Build ComfyUI's default text-to-image workflow."""
    file = File(version=version)
    loader = file.add("CheckpointLoaderSimple", "a.safetensors")
    positive = file.add("CLIPTextEncode", "a cat", title="Positive")
    negative = file.add("CLIPTextEncode", "blurry", title="Negative")
    latent = file.add("EmptyLatentImage", 512, 768, 1)
    sampler = file.add("KSampler", 42, "randomize", 20, 7.5, "euler", "karras", 1.0)
    decode = file.add("VAEDecode")
    save = file.add("SaveImage", "cat")
    file.link(loader, 0, sampler, "model", "MODEL")
    file.link(loader, 1, positive, "clip", "CLIP")
    file.link(loader, 1, negative, "clip", "CLIP")
    file.link(positive, 0, sampler, "positive", "CONDITIONING")
    file.link(negative, 0, sampler, "negative", "CONDITIONING")
    file.link(latent, 0, sampler, "latent_image", "LATENT")
    file.link(sampler, 0, decode, "samples", "LATENT")
    file.link(loader, 2, decode, "vae", "VAE")
    file.link(decode, 0, save, "images", "IMAGE")
    return file
