from rag.rewrite import search_query
from rag.types import Message


def talk(*turns: tuple[str, str]) -> list[Message]:
    return [Message(role, text) for role, text in turns]


def test_without_history_the_question_is_searched_as_it_is() -> None:
    assert search_query(talk(("system", "Be brief."), ("user", " Why? ")), rewrite=True) == "Why?"


def test_a_short_follow_up_carries_the_question_before() -> None:
    messages = talk(("user", "What does a cabin cost?"), ("assistant", "40 euros."), ("user", "And in winter?"))
    assert search_query(messages, rewrite=True) == "What does a cabin cost?\nAnd in winter?"
    assert search_query(messages, rewrite=False) == "And in winter?"


def test_a_self_contained_question_stands_alone() -> None:
    long = "How many life jackets does the deck locker of the Whimbrel hold?"
    assert search_query(talk(("user", "Hello there"), ("assistant", "Hi"), ("user", long)), rewrite=True) == long


def test_nothing_asked_is_nothing_to_search() -> None:
    assert search_query(talk(("system", "x"), ("assistant", "y")), rewrite=True) == ""
    image = Message("user", ({"type": "image_url", "image_url": {"url": "data:,"}},))
    assert search_query([image], rewrite=True) == ""
