from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.citations import CitationStream, cite
from rag.errors import ContextLengthExceeded, InvalidRequest
from rag.extractive import (
    CONTEXT_LENGTH,
    NO_PASSAGES,
    NOT_ANSWERED,
    ExtractiveGenerator,
    compose,
    tokens,
)
from rag.types import Delta, GenerationRequest, Message, Passage, Usage

FERRY = (
    "# Crossing to Mull\n\nThe ferry leaves Oban at 7.45 and reaches Mull in 46 minutes. Bicycles travel free of "
    "charge. Dogs are not allowed on deck 3.\n\n| Ticket | Price |\n|---|---|\n| Foot passenger | 8.20 EUR |\n"
    "| Car | 31 EUR |\n\n## Lost property\n- Ask at the quay office.\n- Items are kept for 90 days."
)
STAFF = (
    "Staff have 27 days of annual leave. Leave is approved by the head of the workshop. "
    "How many days of annual leave do staff have? See form T-14 for unpaid leave."
)


def passage(text: str, n: int = 0, **more: Any) -> Passage:
    return Passage(f"c{n}", f"d{n}", "kb", "a.txt", text, 10, 10 + len(text), n, **more)


PASSAGES = (passage(STAFF), passage(FERRY, 1))


def ask(question: str, passages: tuple[Passage, ...] = PASSAGES, **params: Any) -> GenerationRequest:
    return GenerationRequest((Message("user", question),), params, question, passages)


async def deltas(request: GenerationRequest) -> list[Delta]:
    return [delta async for delta in ExtractiveGenerator().stream(request)]


async def said(request: GenerationRequest, choice: int = 0) -> str:
    return "".join(delta.text for delta in await deltas(request) if delta.choice == choice)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How many days of annual leave do staff have?", "Staff have 27 days of annual leave. [1]"),
        ("When does the ferry leave Oban?", "The ferry leaves Oban at 7.45 and reaches Mull in 46 minutes. [2]"),
        ("What does a car ticket cost?", "| Car | 31 EUR | [2]"),
        ("Where do I ask for lost property?", "Ask at the quay office. [2]"),
        ("Which form is needed for unpaid leave?", "See form T-14 for unpaid leave. [1]"),
        ("Are dogs allowed?", "Dogs are not allowed on deck 3. [2]"),
    ],
)
def test_the_best_sentence_is_quoted_with_its_marker(question: str, expected: str) -> None:
    assert expected in compose(question, PASSAGES)


@pytest.mark.parametrize(
    ("question", "text", "expected"),
    [
        (
            "Wie viele Tage Urlaub gibt es?",
            "Der Garten ist groß. Es gibt 27 Tage Urlaub.",
            "Es gibt 27 Tage Urlaub. [1]",
        ),
        ("¿Cuánto cuesta la cuota?", "Hay un jardín. La cuota es de 35 euros.", "La cuota es de 35 euros. [1]"),
        ("会员费是多少？", "图书馆周一休息。会员费是每月40欧元。", "会员费是每月40欧元。 [1]"),
        ("年会費はいくらですか", "庭は広い。年会費は五千円です。", "年会費は五千円です。 [1]"),
    ],
)
def test_languages(question: str, text: str, expected: str) -> None:
    assert compose(question, [passage(text)]) == expected


def test_one_to_three_sentences_without_repeats() -> None:
    text = "Tea is green. Tea is black. Tea is white. Tea is red. Tea is green."
    answer = compose("Is tea green, black, white or red?", [passage(text), passage(text, 1)])
    assert 1 <= answer.count("[") <= 3
    assert answer.count("Tea is green.") <= 1


def test_two_facts_are_both_given() -> None:
    answer = compose("How many days of leave do staff have, and does a bicycle travel free?", PASSAGES)
    assert "27 days" in answer
    assert "Bicycles travel free of charge. [2]" in answer


def test_headings_and_the_question_itself_are_no_answers() -> None:
    assert "## " not in compose("What is said about lost property?", PASSAGES)
    assert "How many" not in compose("How many days of annual leave do staff have?", PASSAGES)
    titled = passage("Opening hours\n\nThe office opens at 9.", headings=("Opening hours",))
    assert compose("What are the opening hours of the office?", [titled]) == "The office opens at 9. [1]"


GUIDE = (
    "Pier guide\n\nOffice of the pier master\n\nPasswords\n\nPasswords have nine characters.\n\n"
    "Kiosks: error codes\n\n"
    "| Code | Meaning | What to do |\n| --- | --- | --- |\n| K-3 | paper empty | change the roll |\n"
    "| K-9 | drawer open | close the drawer |\n\n"
    "Wi-Fi\n\nPrivate phones use PIER-Guest; it is cut off after two hours. The pier master is Ada Boom.\n\n"
    "Boat Mean wind Gusts\nTern 21 knots 30 knots\nSkua 27 knots 38 knots\n"
)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What should I do when a kiosk shows error K-9?", "| K-9 | drawer open | close the drawer | [1]"),
        ("What is the highest mean wind for the Skua?", "Skua 27 knots 38 knots [1]"),
        (
            "What is the meaning of the code K-3?",
            "| Code | Meaning | What to do | [1]\n| K-3 | paper empty | change the roll | [1]",
        ),
    ],
)
def test_a_row_is_the_answer_and_not_what_stands_above_it(question: str, expected: str) -> None:
    assert compose(question, [passage(GUIDE)]) == expected


@pytest.mark.parametrize(
    "question",
    [
        "What is the salary of the pier master?",
        "What is the password of the PIER-Guest network?",
        "Which shipyard made the drawer?",
        "¿Cuál es el salario del pier master?",
        "Wie lautet das Gehalt vom pier master?",
        "Quel est le salaire de la pier master ?",
    ],
)
def test_what_the_passages_do_not_tell_is_not_answered(question: str) -> None:
    assert compose(question, [passage(GUIDE)]) == NOT_ANSWERED


def test_attributes_that_are_named_or_need_no_name_are_answered() -> None:
    text = "The fee of the pier is 4 euros. The pier master is Ada Boom."
    assert "4 euros" in compose("What is the fee of the pier?", [passage(text)])
    assert "Ada Boom" in compose("What is the name of the pier master?", [passage(text)])


def test_nothing_worse_stands_in_for_a_sentence_that_cannot_be_quoted() -> None:
    text = "It is false that:\n- the tram to the quay costs 4 euros on weekdays.\n\nA tram is a vehicle on rails."
    assert compose("What does the tram to the quay cost on weekdays?", [passage(text)]) == NOT_ANSWERED


def test_the_earlier_questions_of_a_conversation_name_no_attribute() -> None:
    question = "What is the salary of the pier master?\nAnd who is the pier master?"
    assert "Ada Boom" in compose(question, [passage(GUIDE)])


def test_sentences_wrapped_at_the_margin_are_quoted_whole() -> None:
    text = (
        "Things found on the boats are kept for 45 days at the blue kiosk in New\n"
        "Haven, open daily. Each crew holds a drill for leaving the ship once every\n14 days."
    )
    assert compose("How long are things found kept?", [passage(text)]).startswith(text[: text.index("Each")].strip())
    assert compose("How often is a drill held?", [passage(text)]).endswith("once every\n14 days. [1]")


def test_honest_when_there_is_nothing() -> None:
    assert compose("Who painted the Mona Lisa?", PASSAGES) == NOT_ANSWERED
    assert compose("", PASSAGES) == NOT_ANSWERED
    assert compose("的", PASSAGES) == NOT_ANSWERED
    assert compose("Who?", [passage("")]) == NOT_ANSWERED
    assert compose("Who?", []) == NOT_ANSWERED
    assert "`knowledge_bases`" in NO_PASSAGES


def test_markers_of_the_source_are_not_repeated() -> None:
    text = "Rome was founded in 753 BC.[2] Rome [1] grew fast. Rome is old."
    assert compose("When was Rome founded?", [passage(text), passage("x", 1)]).startswith(
        "Rome was founded in 753 BC. [1]"
    )
    assert "grew" not in compose("Did Rome grow fast?", [passage(text), passage("x", 1)])


WORDS = st.sampled_from(
    [
        "ferry",
        "Oban",
        "the",
        "not",
        "40",
        "1.5",
        "Dr.",
        "leave",
        "费用",
        "是40欧元。",
        "?",
        "!",
        ".",
        "[1]",
        "[9]",
        "| a | b |",
        "\n",
        "\n\n",
        "- ",
        "# ",
        "**",
        "“",
        "”",
        '"',
        "```",
        "1. ",
        "deck",
        "über",
        "é",
        "…",
        "{",
        "\\n",
        ":",
        "(",
        ")",
    ]
)
TEXTS = st.lists(WORDS, max_size=40).map(" ".join)


@settings(deadline=None, max_examples=150)
@given(st.lists(TEXTS, min_size=1, max_size=3), st.lists(WORDS, max_size=6).map(" ".join))
def test_every_answer_verifies_as_exact(texts: list[str], question: str) -> None:
    passages = [passage(text, n) for n, text in enumerate(texts)]
    answer = compose(question, passages)
    if answer == NOT_ANSWERED:
        return
    stream = CitationStream(passages)
    assert "".join(p.text for p in (*stream.feed(answer), *stream.close())) == answer
    assert stream.spans
    for n, span in stream.spans:
        assert span.verification == "exact"
        assert answer[span.answer_start : span.answer_end] == span.quote
        assert span.quote is not None
        assert span.quote in passages[n].text
    cited = cite(passages, [stream])
    assert 1 <= sum(len(citation.spans) for citation in cited) <= 3


async def test_the_stream() -> None:
    request = ask("How many days of annual leave do staff have?")
    found = await deltas(request)
    assert found[0] == Delta(role="assistant")
    text = [delta.text for delta in found if delta.text]
    assert "".join(text) == compose(request.question, PASSAGES)
    assert len(text) > 5
    assert text == tokens("".join(text))
    assert all(piece.count("[") == piece.count("]") for piece in text)
    assert [delta.finish_reason for delta in found if delta.finish_reason] == ["stop"]
    prompt = await ExtractiveGenerator().count_tokens(request.messages, {})
    assert found[-1] == Delta(usage=Usage(prompt, len(text)))
    assert prompt == 9


async def test_without_a_question_the_last_user_message_is_asked() -> None:
    messages = (Message("user", "Who?"), Message("assistant", "?"), Message("user", "Are dogs allowed?"))
    request = GenerationRequest(messages, {}, "", PASSAGES)
    assert "Dogs are not allowed" in await said(request)


async def test_choices_are_equal_and_counted() -> None:
    found = await deltas(ask("Are dogs allowed?", n=3))
    texts = ["".join(d.text for d in found if d.choice == n) for n in range(3)]
    assert texts[0]
    assert len(set(texts)) == 1
    assert [d.choice for d in found if d.finish_reason] == [0, 1, 2]
    assert found[-1].usage is not None
    assert found[-1].usage.completion_tokens == 3 * len(tokens(texts[0]))


async def test_max_tokens_and_stop() -> None:
    question = "Are dogs allowed?"
    full = await said(ask(question))
    cut = await deltas(ask(question, max_tokens=3))
    assert "".join(d.text for d in cut) == "".join(tokens(full)[:3])
    assert [d.finish_reason for d in cut if d.finish_reason] == ["length"]
    assert cut[-1].usage is not None
    assert cut[-1].usage.completion_tokens == 3
    both = await said(ask(question, max_tokens=5, max_completion_tokens=2))
    assert len(tokens(both)) == 2
    exact = await deltas(ask(question, max_tokens=len(tokens(full))))
    assert [d.finish_reason for d in exact if d.finish_reason] == ["stop"]
    assert await said(ask(question, stop="allowed")) == full.split("allowed")[0]
    assert await said(ask(question, stop=["zzz", "are"])) == full.split("are")[0]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": [{"name": "f"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": "2"}, "n"),
        ({"n": True}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"stop": ""}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"stop": 5}, "stop"),
    ],
)
async def test_what_it_cannot_do_is_refused_by_name(params: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await deltas(ask("Are dogs allowed?", **params))
    assert refused.value.param == param
    assert f"`{param}`" in refused.value.message or "extractive" in refused.value.message


async def test_images_are_refused() -> None:
    parts = ({"type": "text", "text": "Who?"}, {"type": "image_url", "image_url": {"url": "data:,"}})
    with pytest.raises(InvalidRequest) as refused:
        await deltas(GenerationRequest((Message("user", parts),), {}, "Who?", PASSAGES))
    assert refused.value.param == "messages"


@pytest.mark.parametrize(
    "params",
    [
        {"tools": [{"type": "function"}], "tool_choice": "none"},
        {"tools": []},
        {"response_format": {"type": "text"}},
        {"logprobs": False, "top_logprobs": None, "n": None, "stop": None, "max_tokens": None},
        {"temperature": 1.3, "top_p": 0.2, "seed": 7, "user": "x", "modalities": ["text"]},
    ],
)
async def test_what_changes_nothing_is_accepted(params: dict[str, Any]) -> None:
    assert await said(ask("Are dogs allowed?", **params)) == compose("Are dogs allowed?", PASSAGES)


async def test_port() -> None:
    generator = ExtractiveGenerator()
    assert generator.model == "extractive"
    assert await generator.context_length() == CONTEXT_LENGTH
    assert await generator.count_tokens([Message("user", "费用 is 40")], {}) == 4
    assert await generator.count_tokens([Message("user", None)], {}) == 0


@settings(deadline=None)
@given(st.text(max_size=60))
def test_tokens_lose_nothing(text: str) -> None:
    assert "".join(tokens(text)) == text


async def test_nothing_found_is_not_the_same_as_nothing_asked() -> None:
    asked = (Message("user", "Who?"),)
    assert await said(GenerationRequest(asked, searched=True)) == NOT_ANSWERED
    assert await said(GenerationRequest(asked)) == NO_PASSAGES


async def test_its_context_has_an_end() -> None:
    with pytest.raises(ContextLengthExceeded):
        await said(GenerationRequest((Message("user", "word " * (CONTEXT_LENGTH + 1)),)))
