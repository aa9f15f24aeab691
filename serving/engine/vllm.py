"""How the embedded vLLM is run: flags, environment, threads. Measured reasons: deploy/engine/README.md."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MODEL = "smollm2-135m-instruct"
CONTEXT_LENGTH = 8192
KV_CACHE_GIB = 1
MAX_SEQUENCES = 16

# What the engine inherits. Nothing else: it needs no database, no bucket and no key of ours.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE")

FLAGS = (
    # Compiling takes minutes and the result is no faster.
    "--enforce-eager",
    # A seed with temperature > 0 over a prompt that is read in chunks ends the engine.
    "--no-enable-chunked-prefill",
    "--enable-auto-tool-choice",
    *("--tool-call-parser", "hermes"),
    *("--tool-strict-level", "parameter"),
    # Without it a small model fills a JSON answer with white space up to the last token.
    *("--structured-outputs-config", '{"backend":"xgrammar","disable_any_whitespace":true}'),
    # Every request in the log would put what users ask on disk.
    "--no-enable-log-requests",
    "--disable-uvicorn-access-log",
)


@dataclass(frozen=True, slots=True)
class Engine:
    """An installed engine: its folder and the model in it."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def model(self) -> Path:
        return self.folder / "models" / MODEL

    def missing(self) -> str | None:
        """None when complete, otherwise what is not there."""
        for path, name in (
            (self.python, "the engine is not installed"),
            (self.folder / "engine.stamp", "the engine's installation is not complete"),
            (self.model / "conversion.json", "the engine's model is not converted"),
        ):
            if not path.exists():
                return name
        return None


def command(engine: Engine, port: int) -> tuple[str, ...]:
    """The argument vector; the API key travels in the environment."""
    return (
        *(str(engine.python), "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(engine.model), "--served-model-name", MODEL),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--max-model-len", str(CONTEXT_LENGTH), "--max-num-seqs", str(MAX_SEQUENCES)),
        *FLAGS,
    )


def environment(inherited: Mapping[str, str], *, api_key: str, threads: int, cache: Path) -> dict[str, str]:
    """The whole environment of the child: offline, silent, with threads that are counted on purpose."""
    kept = {name: inherited[name] for name in INHERITED if name in inherited}
    return {
        "PATH": os.defpath,
        "HOME": str(cache),
        **kept,
        "VLLM_API_KEY": api_key,
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_KVCACHE_SPACE": str(KV_CACHE_GIB),
        # Not bound to cores: gateway, worker and vectord compute on the same ones.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(threads),
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "HF_HOME": str(cache / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores this process may use: those of its affinity mask, or fewer under a container's CPU quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        limit, period = quota.read_text(encoding="ascii").split()
        return max(1, min(cores, int(limit) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max": no quota
        return cores


def threads_for(cores: int) -> int:
    """Half the cores, at least one: the other half is for the gateway, the worker and vectord.

    A thread for every core is far slower on a busy machine, because each step waits for the slowest thread.
    """
    return max(1, cores // 2)
