"""Write small model files: eight bytes with the length of a JSON header, the header, the data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def write_safetensors(
    path: Path,
    tensors: Mapping[str, np.ndarray[Any, np.dtype[np.float32]]],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write ``float32`` tensors into a file, whose folder is created."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        header[name] = {"dtype": "F32", "shape": [*tensor.shape], "data_offsets": [offset, end]}
        offset = end
    content = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(tensor.tobytes() for tensor in tensors.values())
    path.write_bytes(len(content).to_bytes(8, "little") + content + data)
    return path


def random_sd15_lora(path: Path, *, rank: int = 4) -> Path:
    """Write a LoRA with names and shapes of SD 1.5 whose random weights are large enough to see."""
    layers = {
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj": (768, 768),
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": (320, 320),
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k": (320, 768),
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_v": (1280, 1280),
    }
    random = np.random.default_rng(1)
    tensors: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
    for name, (outputs, inputs) in layers.items():
        tensors[f"{name}.lora_down.weight"] = random.normal(size=(rank, inputs)).astype("float32")
        tensors[f"{name}.lora_up.weight"] = random.normal(size=(outputs, rank)).astype("float32")
        tensors[f"{name}.alpha"] = np.asarray(float(rank), "float32")
    tags = json.dumps({"10_live": {"live noise": 10}})
    metadata = {"ss_base_model_version": "sd_v1", "ss_tag_frequency": tags}
    return write_safetensors(path, tensors, metadata)
