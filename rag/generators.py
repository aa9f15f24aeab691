"""Chat models behind any OpenAI-compatible server, several replicas per name, least-loaded first."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from rag import sse
from rag.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    InvalidRequest,
    TensorasError,
)
from rag.settings import EngineSettings
from rag.types import JSON, Delta, GenerationRequest, Message, Usage

_CONNECT_SECONDS = 5.0
_PROBE_SECONDS = 10.0
_ASSUMED_CONTEXT = 8192
_BYTES_PER_TOKEN = 3
_TOKENS_PER_MESSAGE = 8


@dataclass(slots=True)
class _Replica:
    url: str
    in_flight: int = 0


def _detail(body: bytes) -> tuple[str, str | None]:
    """Message and parameter of an engine's error body, whatever shape it has."""
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode(errors="replace")[:500], None
    error = raw.get("error", raw) if isinstance(raw, dict) else raw
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or error
        param = error.get("param")
        return str(message)[:500], param if isinstance(param, str) else None
    return str(error)[:500], None


def _usage(raw: JSON) -> Usage:
    details = {key: value for key, value in raw.items() if key.endswith("_details") and value is not None}
    return Usage(int(raw.get("prompt_tokens") or 0), int(raw.get("completion_tokens") or 0), details)


def _deltas(chunk: JSON) -> Iterator[Delta]:
    """One engine chunk as deltas; unknown delta fields (reasoning, refusal …) travel in `extra`."""
    for choice in chunk.get("choices") or ():
        delta = dict(choice.get("delta") or {})
        yield Delta(
            choice=int(choice.get("index") or 0),
            text=delta.pop("content", None) or "",
            role=delta.pop("role", None),
            tool_calls=tuple(delta.pop("tool_calls", None) or ()),
            logprobs=choice.get("logprobs"),
            finish_reason=choice.get("finish_reason"),
            extra={key: value for key, value in delta.items() if value is not None},
        )
    if chunk.get("usage"):
        yield Delta(usage=_usage(chunk["usage"]))


class OpenAIGenerator:
    """Generator over HTTP. One instance per public model name; share the client between instances."""

    def __init__(
        self, name: str, settings: EngineSettings, client: httpx.AsyncClient, *, timeout: float = 600.0
    ) -> None:
        self.model = name
        self._served = settings.model or name
        self._settings = settings
        self._client = client
        self._timeout = httpx.Timeout(timeout, connect=_CONNECT_SECONDS)
        self._replicas = [_Replica(url.rstrip("/")) for url in settings.urls]
        self._context = settings.context_length
        self._counts_tokens = True

    def _headers(self) -> dict[str, str]:
        key = self._settings.api_key
        return {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}

    # what the engine is --------------------------------------------------------------------------
    async def context_length(self) -> int:
        if self._context is None:
            card = await self._card()
            self._context = int(card.get("max_model_len") or card.get("context_length") or _ASSUMED_CONTEXT)
        return self._context

    async def _card(self) -> JSON:
        """The engine's own entry for the model; raises EngineUnavailable while it is not up."""
        response = await self._ask("GET", "/models")
        if response.status_code != 200:
            raise self._refused(response.status_code, response.content)
        listed = response.json().get("data") or []
        for card in listed:
            if card.get("id") == self._served:
                return dict(card)
        known = ", ".join(str(card.get("id")) for card in listed[:8])
        raise EngineUnavailable(
            f"the engine of {self.model!r} does not serve {self._served!r} (it has: {known}); correct ENGINES"
        )

    async def ready(self) -> bool:
        """Whether a replica answers and serves the model."""
        try:
            await self._card()
        except TensorasError:
            return False
        return True

    async def _ask(self, method: str, path: str, body: Any = None, *, root: bool = False) -> httpx.Response:
        """A short question to the first replica that answers; `root`: beside `/v1`, not under it."""
        last: httpx.TransportError | None = None
        for replica in self._by_load():
            try:
                base = replica.url.removesuffix("/v1") if root else replica.url
                return await self._client.request(
                    method, base + path, json=body, headers=self._headers(), timeout=_PROBE_SECONDS
                )
            except httpx.TransportError as error:
                last = error
        raise self._away(last)

    def _away(self, error: Exception | None) -> EngineUnavailable:
        reason = type(error).__name__ if error else "no replica"
        return EngineUnavailable(
            f"the engine of {self.model!r} is not up ({reason}); retry in a few seconds", retry_after=5.0
        )

    # counting ------------------------------------------------------------------------------------
    async def count_tokens(self, messages: Sequence[Message], params: Mapping[str, Any]) -> int:
        """Exact where the engine has `/tokenize` (vLLM); otherwise a bound that errs on the high side."""
        raw = [message.to_openai() for message in messages]
        if self._counts_tokens:
            body = {"model": self._served, "messages": raw, "add_generation_prompt": True}
            if params.get("tools"):
                body["tools"] = params["tools"]
            response = await self._ask("POST", "/tokenize", body, root=True)
            if response.status_code == 200:
                return int(response.json()["count"])
            if response.status_code == 400:
                raise self._refused(400, response.content)
            self._counts_tokens = False
        size = sum(len(orjson.dumps(message)) for message in raw)
        size += len(orjson.dumps(params["tools"])) if params.get("tools") else 0
        return math.ceil(size / _BYTES_PER_TOKEN) + _TOKENS_PER_MESSAGE * len(raw)

    # generating ----------------------------------------------------------------------------------
    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        body = {
            **request.params,
            "model": self._served,
            "messages": [message.to_openai() for message in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        async with self._open(body) as response:
            async for data in self._events(response):
                if data == sse.DONE:
                    return
                for delta in _deltas(self._chunk(data)):
                    yield delta
        raise EngineError(f"the engine of {self.model!r} ended its stream before the answer was complete")

    def _chunk(self, data: str) -> JSON:
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise EngineError(f"the engine of {self.model!r} sent an event that is no JSON") from error
        if chunk.get("error"):
            message, _ = _detail(data.encode())
            raise EngineError(f"the engine of {self.model!r} failed: {message}")
        return dict(chunk)

    async def _events(self, response: httpx.Response) -> AsyncIterator[str]:
        try:
            async for data in sse.events(response.aiter_lines()):
                yield data
        except httpx.TimeoutException as error:
            raise DeadlineExceeded(f"the engine of {self.model!r} went silent; retry") from error
        except httpx.TransportError as error:
            raise EngineError(f"the engine of {self.model!r} broke off ({type(error).__name__})") from error

    @asynccontextmanager
    async def _open(self, body: JSON) -> AsyncIterator[httpx.Response]:
        """The response of the first replica that takes the request; its place is held until the end."""
        last: httpx.TransportError | None = None
        for replica in self._by_load():
            with self._place(replica):
                message = self._client.build_request(
                    "POST",
                    f"{replica.url}/chat/completions",
                    content=orjson.dumps(body),
                    headers={"Content-Type": "application/json", **self._headers()},
                    timeout=self._timeout,
                )
                try:
                    response = await self._client.send(message, stream=True)
                except httpx.ConnectError as error:
                    last = error
                    continue
                except httpx.TransportError as error:
                    raise self._away(error) from error
                try:
                    if response.status_code != 200:
                        raise self._refused(response.status_code, await response.aread())
                    yield response
                finally:
                    await response.aclose()
                return
        raise self._away(last)

    def _by_load(self) -> list[_Replica]:
        return sorted(self._replicas, key=lambda replica: replica.in_flight)

    @contextmanager
    def _place(self, replica: _Replica) -> Iterator[None]:
        if replica.in_flight >= self._settings.max_concurrency:
            raise EngineOverloaded(f"{self.model!r} is answering as many requests as it may; retry in a second")
        replica.in_flight += 1
        try:
            yield
        finally:
            replica.in_flight -= 1

    def _refused(self, status: int, body: bytes) -> TensorasError:
        message, param = _detail(body)
        if status == 400 and ("context length" in message or "max_model_len" in message):
            return ContextLengthExceeded(message, param=param or "messages")
        if status in (400, 413, 422):
            return InvalidRequest(message, param=param)
        if status == 429:
            return EngineOverloaded(f"the engine of {self.model!r} is busy: {message}")
        if status in (502, 503, 504):
            return EngineUnavailable(f"the engine of {self.model!r} is not up yet; retry", retry_after=5.0)
        if status in (401, 403, 404):
            return EngineUnavailable(f"the engine of {self.model!r} answered {status}: {message}; correct ENGINES")
        return EngineError(f"the engine of {self.model!r} failed ({status}): {message}")
