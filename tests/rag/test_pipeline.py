from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rag.build import build_chat_models
from rag.errors import EngineError, NotFound
from rag.pipeline import ChatModel, ModelCard, Pipeline
from rag.ports import Generator
from rag.prompt import Layout
from rag.settings import EngineSettings
from rag.testing import HashEmbedder, OverlapReranker, ScriptedGenerator
from rag.types import Chunk, Delta, DocumentRef, GenerationRequest, Message, Question, RagOptions, Scope
from tests.rag.memory import MemoryStore

SCOPE = Scope("t1", ("kb_1",))
TEXT = "A cabin costs 41 euros a night. Dogs are not allowed on deck 3. Towels cost 6 euros."
ASK = Question("scripted", (Message("user", "What does a cabin cost a night on the ferry?"),), scope=SCOPE)


async def pipeline(generator: Generator, reranker: Any = None) -> Pipeline:
    embedder, store = HashEmbedder(), MemoryStore()
    await store.replace(
        DocumentRef("t1", "kb_1", "doc_1", 1, "rates.md"),
        [Chunk(0, TEXT, 0, len(TEXT))],
        await embedder.embed_documents([TEXT]),
    )
    card = ModelCard("scripted", "chat", "test", 0, 4096, ("chat",))
    models = {"scripted": ChatModel(generator, card), "alias": ChatModel(generator, card)}
    return Pipeline(embedder, store, models, reranker=reranker)


async def deltas(pipe: Pipeline, question: Question = ASK) -> list[Delta]:
    return [delta async for delta in pipe.stream(question)]


async def test_the_last_delta_of_the_answer_holds_the_checked_citations() -> None:
    pipe = await pipeline(ScriptedGenerator(["A cabin costs ", "41 euros a night", ". Enjoy!"]))
    seen = await deltas(pipe)
    finish = next(delta for delta in seen if delta.finish_reason)
    assert finish.citations is not None
    (span,) = finish.citations[0].spans
    assert (span.verification, span.quote) == ("exact", "A cabin costs 41 euros a night.")
    assert TEXT[span.start : span.end] == span.quote
    assert finish.retrieval is not None
    assert finish.retrieval.rerank == "skipped"
    assert {"embed", "search", "rerank", "first_token", "generate"} == set(finish.retrieval.timings_ms)
    assert [note.citation_index for delta in seen for note in delta.annotations] == [1]
    assert seen[-1].usage is not None


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=8), choices=st.integers(1, 3))
async def test_the_answer_is_the_joined_stream_however_it_was_cut(cuts: list[int], choices: int) -> None:
    said = "A cabin costs 41 euros a night [1]. Towels cost 7 euros. Bye [2]!"
    edges = [0, *sorted(min(cut, len(said)) for cut in cuts), len(said)]
    pieces = [said[start:end] for start, end in pairwise(edges)]
    question = replace(ASK, params={"n": choices})
    whole = await (await pipeline(ScriptedGenerator([said]))).answer(question)
    cut = await (await pipeline(ScriptedGenerator(pieces))).answer(question)
    assert [choice.text for choice in cut.choices] == [said] * choices
    assert [choice.annotations for choice in cut.choices] == [choice.annotations for choice in whole.choices]
    assert cut.citations == whole.citations
    streamed = await deltas(await pipeline(ScriptedGenerator(pieces)), question)
    for choice in range(choices):
        assert "".join(delta.text for delta in streamed if delta.choice == choice) == said
        assert all(delta.text.count("[") == delta.text.count("]") for delta in streamed)


async def test_without_knowledge_bases_nothing_is_searched_and_the_answer_goes_through() -> None:
    generator = ScriptedGenerator(["Hello", " [1]."])
    pipe = await pipeline(generator)
    answer = await pipe.answer(replace(ASK, scope=None))
    assert answer.choices[0].text == "Hello [1]."
    assert answer.citations is None
    assert answer.retrieval is None
    assert generator.requests[0].messages == ASK.messages


async def test_nothing_above_min_score_gives_no_citations_and_the_model_is_told() -> None:
    generator = ScriptedGenerator(["I do not know."])
    pipe = await pipeline(generator, OverlapReranker())
    answer = await pipe.answer(replace(ASK, rag=RagOptions(min_score=0.99)))
    assert answer.citations == ()
    strict = RagOptions(min_score=0.99, citation_policy="strict")
    assert (await pipe.answer(replace(ASK, rag=strict))).choices[0].text == "I do not know."
    assert "No passage" in generator.requests[0].messages[-1].text


async def test_strict_policy_drops_and_lists_what_nothing_supports() -> None:
    pipe = await pipeline(ScriptedGenerator(["Towels cost 6 euros. Pillows cost 9 euros."]))
    answer = await pipe.answer(replace(ASK, rag=RagOptions(citation_policy="strict")))
    assert answer.choices[0].text == "Towels cost 6 euros."
    assert answer.retrieval is not None
    assert answer.retrieval.dropped_sentences == ("Pillows cost 9 euros.",)


async def test_a_follow_up_is_searched_with_what_it_refers_to() -> None:
    pipe = await pipeline(ScriptedGenerator(["41."]))
    talk = (
        Message("user", "What does a cabin cost?"),
        Message("assistant", "41."),
        Message("user", "In winter?"),
    )
    answer = await pipe.answer(replace(ASK, messages=talk))
    assert answer.retrieval is not None
    assert answer.retrieval.query == "What does a cabin cost?\nIn winter?"


async def test_closing_the_stream_stops_the_generator() -> None:
    generator = ScriptedGenerator(["word "] * 1000)
    pipe = await pipeline(generator)
    stream = pipe.stream(ASK)
    async for delta in stream:
        if delta.text:
            break
    await stream.aclose()
    assert generator.closed == 1


async def test_aliases_are_models_and_unknown_names_are_not() -> None:
    pipe = await pipeline(ScriptedGenerator(["x"]))
    assert (await pipe.answer(replace(ASK, model="alias"))).choices[0].text == "x"
    assert {name: card.id for name, card in pipe.models.items()} == {"scripted": "scripted", "alias": "alias"}
    with pytest.raises(NotFound) as caught:
        await pipe.answer(replace(ASK, model="gpt-9"))
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


class Breaking(ScriptedGenerator):
    async def stream(self, request: GenerationRequest) -> Any:
        yield Delta(text="A cabin")
        raise EngineError("the engine died")


async def test_a_broken_generation_is_an_error_and_not_an_answer() -> None:
    with pytest.raises(EngineError):
        await (await pipeline(Breaking([]))).answer(ASK)


async def test_tool_calls_and_log_probabilities_pass_the_citation_checker() -> None:
    class Calling(ScriptedGenerator):
        async def stream(self, request: GenerationRequest) -> Any:
            yield Delta(role="assistant")
            yield Delta(text="Fine [", logprobs={"content": [1]})
            yield Delta(text="1].", logprobs={"content": [2]})
            yield Delta(tool_calls=({"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}},))
            yield Delta(finish_reason="tool_calls")

    answer = await (await pipeline(Calling([]))).answer(ASK)
    assert answer.choices[0].text == "Fine [1]."
    assert answer.choices[0].logprobs == {"content": [1, 2]}
    assert answer.choices[0].tool_calls[0]["function"] == {"name": "f", "arguments": "{}"}
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_a_model_is_shown_its_passages_as_it_likes_them_and_as_many_as_the_request_says() -> None:
    generator = ScriptedGenerator(["41 euros."])
    pipe = await pipeline(generator)
    texts = [TEXT, "A cabin has a window.", "A cabin has a bed."]
    chunks = [Chunk(n, text, 0, len(text)) for n, text in enumerate(texts)]
    document = DocumentRef("t1", "kb_1", "doc_1", 1, "rates.md")
    await pipe.store.replace(document, chunks, await pipe.embedder.embed_documents(texts))
    small = replace(pipe.chat_model("scripted"), layout=Layout("plain"), default_top_k=1)
    pipe = Pipeline(pipe.embedder, pipe.store, {"scripted": small})
    answer = await pipe.answer(ASK)
    assert generator.requests[-1].messages[-1].text.startswith("Context:\n<passage>\nA cabin")
    assert [citation.index for citation in answer.citations or ()] == [1]
    answer = await pipe.answer(replace(ASK, rag=RagOptions(top_k=3)))
    assert [citation.index for citation in answer.citations or ()] == [1, 2, 3]


def test_an_engines_settings_make_its_layout() -> None:
    plain = EngineSettings(urls=["http://localhost:1/v1"], prompt_style="plain", cite_markers=False, default_top_k=2)
    models = build_chat_models({"a": plain, "b": EngineSettings(urls=["http://localhost:1/v1"])}, 1.0)
    assert (models["a"].layout, models["a"].default_top_k) == (Layout("plain", markers=False), 2)
    assert (models["b"].layout, models["b"].default_top_k) == (Layout(), 5)
    for wrong in ({"prompt_style": "loud"}, {"default_top_k": 0}):
        with pytest.raises(ValidationError):
            EngineSettings(urls=["http://localhost:1/v1"], **wrong)
