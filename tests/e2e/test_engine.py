"""The conversion of the real model, with the environment that `make engine` made."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from serving.engine import convert
from tests.e2e.conftest import Quickstart


@pytest.mark.engine
def test_the_real_model_twice_gives_the_same_bytes(quickstart: Quickstart, tmp_path: Path) -> None:
    python = quickstart.folder / ".engine" / "bin" / "python"
    installed = quickstart.folder / ".engine" / "models" / "smollm2-135m-instruct"
    command = [str(python), convert.__file__, str(tmp_path / "again")]
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=environment)
    one, two = (
        {path.name: convert.sha256(path) for path in folder.iterdir()} for folder in (installed, tmp_path / "again")
    )
    assert one == two
    tokenizer_check(python, installed)


def tokenizer_check(python: Path, folder: Path) -> None:
    """Digits alone, as llama.cpp splits them; special tokens whole; every text comes back."""
    code = (
        "import json, sys; from tokenizers import Tokenizer\n"
        "t = Tokenizer.from_file(sys.argv[1])\n"
        "texts = ['a  123   45', 'It is 3 o\\'clock.\\n\\n  x', '日本語 😀 ٣٤', '<|im_start|>u<|im_end|>']\n"
        "print(json.dumps([[t.encode(x).tokens, t.decode(t.encode(x).ids, skip_special_tokens=False) == x]"
        " for x in texts]))"
    )
    command = [str(python), "-c", code, str(folder / "tokenizer.json")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    found = json.loads(done.stdout)
    assert found[0][0] == ["a", "ĠĠ", "1", "2", "3", "ĠĠĠ", "4", "5"]
    assert found[3][0] == ["<|im_start|>", "u", "<|im_end|>"]
    assert all(same for _, same in found)
    config = json.loads((folder / "config.json").read_text())
    assert (config["architectures"], config["eos_token_id"]) == (["LlamaForCausalLM"], 2)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [0, 2]
