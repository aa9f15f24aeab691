"""The words to search for: the last question, made self-contained when it leans on the conversation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from rag.types import Message

_SHORT = 8
"""Questions of fewer words than this rarely name what they are about once a conversation is under way."""
_CARRIED = 2


def search_query(messages: Sequence[Message], *, rewrite: bool) -> str:
    """The last user message; a short one is preceded by the earlier user questions it may refer to.

    Deterministic: works for every engine and language. Empty when no user message has text.
    """
    asked = [text for message in messages if message.role == "user" and (text := message.text.strip())]
    if not asked:
        return ""
    question = asked[-1]
    if not rewrite or len(question.split()) >= _SHORT:
        return question
    earlier = list(islice(reversed(asked[:-1]), _CARRIED))
    return "\n".join([*reversed(earlier), question])
