"""What counts as support: rag.citations' rules, one by one, on single sentences."""

from typing import Any

import pytest

from rag.citations import Sources
from rag.citations.markers import MARKER, find_markers, held_from, without
from rag.citations.support import Finding, support
from rag.citations.terms import is_negated, measures, number, terms
from rag.types import Passage

FEES = (
    "The monthly fee is 40 euros. It is due on the 1st, payable by card. Members may not sublet the flat. "
    "For students, the service is free. The service is free for students. In Germany the rate is 1.50 per day. "
    "Heating is extra; the deposit is 1,200 euros. Late payers are charged between 10 and 40 euros. "
    "It is not true that pets are allowed. Critics claim that the roof leaks. The plant has 5 MW and 140 workers. "
    "Kawann Short led the team with 11 sacks. The non-refundable share is 40% of 15 000 euros at -5 degrees."
)
HOUSE = (
    "# Not included\n- Airport transfer\n- Breakfast on Sundays\n\n# Rules\n1. Smoking is allowed on the balcony.\n"
    "Guests who arrive late are not\nEntitled to a refund of the fee.\nQuiet hours\nGarden use is free\n\n"
    "| Plan | Price |\n|---|---|\n| Basic | 10 EUR |\n\nIs parking free? Große Hunde – auch „kleine“ – zahlen 3 €."
)


def passage(text: str, start: int = 0, **more: Any) -> Passage:
    return Passage("chunk_1", "doc_1", "kb_1", "a.txt", text, start, start + len(text), **more)


def judge(sentence: str, *texts: str) -> Finding:
    return support(Sources([passage(text) for text in texts]), sentence)


def kinds(sentence: str, *texts: str) -> list[str]:
    return [found.verification for found in judge(sentence, *texts).supports]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("The monthly fee is 40 euros.", "exact"),
        ("The monthly fee is 40 euros [1].", "exact"),
        ("The monthly fee [1] is 40 euros.", "exact"),
        ("The monthly fee is 40 euros. It is due on the 1st, payable by card. [1]", "exact"),
        ("It is due on the 1st", "exact"),
        ("It is due on the 1st.", "normalized"),
        ("the deposit is 1,200 euros", "exact"),
        ("THE MONTHLY  FEE is 40 euros!", "normalized"),
        ("- **The monthly fee** is `40 euros`.", "normalized"),
        ("1. The monthly fee is 40 euros.", "normalized"),
        ("> The monthly fee is 40 euros.", "normalized"),
        ("Members may not sublet the flat.", "exact"),
        ("Kawann Short", "exact"),
        ("40 euros", "exact"),
        ("11 sacks.", "exact"),
        ("Kawann Short led the team with 11 sacks.", "exact"),
    ],
)
def test_what_stands_in_the_source(sentence: str, expected: str) -> None:
    found = judge(sentence, FEES)
    assert [s.verification for s in found.supports] == [expected]
    assert found.verified


@pytest.mark.parametrize(
    "sentence",
    [
        "The monthly fee is 41 euros.",
        "The monthly fee is 400 euros.",
        "The monthly fee is 4 euros.",
        "The monthly fee is not 40 euros.",
        "The monthly fee is 40 euros per person.",
        "The monthly fee is 40 euros and includes heating.",
        "The weekly fee is 40 euros.",
        "The monthly fee",  # a fragment that ends inside a clause
        "Members may",
        "sublet the flat.",
        "Members may sublet the flat.",
        "the service is free.",
        "The service is free.",
        "the service is free",
        "pets are allowed.",
        "pets are allowed",
        "the roof leaks.",
        "the rate is 1.5",
        "the rate is 1.50 per day",
        "The rate is 1.50",
        "40 workers",
        "0 workers.",
        "40%",
        "40% of 15",
        "15",
        "000 euros",
        "5 degrees.",
        "refundable share",
        "10",
        "between 10",
        "40 euros. It is due on the 1st of May",
        "The plant has 5 mW and 140 workers.",
        "The plant has 5 MW",
        "Short led",
        "Kawann",
        "is",
        "3. Mai",
    ],
)
def test_what_does_not(sentence: str) -> None:
    for marked in (sentence, f"{sentence} [1]", f"“{sentence}”" if len(sentence.split()) < 3 else sentence):
        assert set(kinds(marked, FEES)) <= {"unverified"}
        assert not judge(marked, FEES).verified


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Airport transfer", False),
        ("Breakfast on Sundays [1]", False),
        ("Smoking is allowed on the balcony.", True),
        ("1. Smoking is allowed on the balcony.", True),
        ("Entitled to a refund of the fee.", False),
        ("Garden use is free", True),
        ("| Basic | 10 EUR |", True),
        ("Basic | 10 EUR", True),
        ("Is parking free?", True),
        ("Parking free", False),
        ("parking free.", False),
        ('GROSSE Hunde - auch "kleine" - zahlen 3 €.', True),
        ("zahlen 3 €.", False),
        ("zahlen 3", False),
    ],
)
def test_lists_wrapped_lines_tables_and_questions(sentence: str, expected: bool) -> None:
    assert judge(sentence, HOUSE).verified is expected


@pytest.mark.parametrize(
    ("lead", "expected"), [("Kiosks: error codes", True), ("Kiosks: error messages", True), ("In error:", False)]
)
def test_an_error_code_is_not_a_denial(lead: str, expected: bool) -> None:
    text = f"{lead}\n\n| Code | What to do |\n|---|---|\n| K-9 | close the drawer |"
    assert judge("| K-9 | close the drawer |", text).verified is expected


def test_the_quote_is_the_sources_own_words() -> None:
    text = "Intro. Die GROSSE Straße  ist “lang” – ja."
    (found,) = judge('die große strasse ist "lang" - ja', text).supports
    assert found.verification == "normalized"
    assert text[found.quote_start : found.quote_end] == "Die GROSSE Straße  ist “lang” – ja"


def test_the_span_leaves_the_markers_out() -> None:
    sentence = "The monthly fee is 40 euros [1]."
    (found,) = judge(sentence, FEES).supports
    assert sentence[found.start : found.end] == "The monthly fee is 40 euros"
    sentence = "[1] The monthly fee is 40 euros. [1][2]"
    found, other = judge(sentence, FEES, "Nothing here.").supports
    assert sentence[found.start : found.end] == "The monthly fee is 40 euros."
    assert (other.passage, other.verification, other.quote_start) == (1, "unverified", None)


def test_each_named_passage_is_judged_and_a_better_one_is_found() -> None:
    found = judge("It is due on the 1st [1][2].", "Nothing.", FEES)
    assert [(s.passage, s.verification) for s in found.supports] == [(0, "unverified"), (1, "exact")]
    found = judge("It is due on the 1st [1].", "Nothing.", FEES)
    assert [(s.passage, s.verification) for s in found.supports] == [(0, "unverified"), (1, "exact")]
    assert found.verified
    assert kinds("It is due on the 1st.", FEES, FEES) == ["normalized"]


def test_a_marker_alone_gives_the_closest_sentence_or_nothing() -> None:
    (found,) = judge("Each month members pay a fee of 40 euros [1].", FEES).supports
    assert found.verification == "unverified"
    assert FEES[found.quote_start : found.quote_end] == "The monthly fee is 40 euros."
    (found,) = judge("Each month members pay a fee of 41 euros [1].", FEES).supports
    assert found.quote_start is None
    (found,) = judge("The monthly fee is never 40 euros [1].", FEES).supports
    assert found.quote_start is None


def test_attribution_without_a_marker() -> None:
    (found,) = judge("Kawann Short, with 11 sacks, led the team.", FEES).supports
    assert found.verification == "unverified"
    assert FEES[found.quote_start : found.quote_end] == "Kawann Short led the team with 11 sacks."
    assert not judge("Kawann Short, with 12 sacks, led the team.", FEES).supports
    assert not judge("Kawann Short, with 11 sacks, never led the team.", FEES).supports
    assert not judge("The mayor opened a new bridge across the river.", FEES).supports


@pytest.mark.parametrize("sentence", ["Sure!", "Hello.", "Of course:", "---", "[1]", "…", "", "Here is what I found:"])
def test_nothing_said_nothing_cited(sentence: str) -> None:
    assert not judge(sentence, FEES).supports


def test_a_marker_that_names_no_passage_is_text() -> None:
    assert not judge("Something else entirely [2].", FEES).supports
    assert kinds("The monthly fee is 40 euros [7].", FEES) == ["exact"]


def test_quotations() -> None:
    sentence = "The contract says: “members may not sublet the flat” [1]."
    found = judge(sentence, FEES)
    (span,) = found.supports
    assert sentence[span.start : span.end] == "members may not sublet the flat"
    assert (span.verification, found.verified) == ("normalized", True)
    found = judge("They argue that “the deposit is 1,200 euros” and that it is never paid back.", FEES)
    assert [s.verification for s in found.supports] == ["exact"]
    assert not found.verified
    assert not judge("It says “pets are allowed in it”.", FEES).supports
    assert kinds("It says «sublet the flat».", FEES) == []
    assert kinds("他说「员工可以休假」。", "员工不可以休假。") == []


def test_quotation_marks_of_the_source_are_no_quotation() -> None:
    text = "The Doctor answers, “I know the feeling well.” Then he leaves."
    assert not judge("The Master answers, “I know the feeling well.”", text).verified
    assert "exact" not in kinds("The Master answers, “I know the feeling well.” and laughs.", text)
    assert kinds("“I know the feeling well.”", text) == ["exact"]


def test_a_passage_that_was_cut_in_mid_sentence() -> None:
    text = "entitled to a refund. The fee is 40 euros."
    whole, cut = passage(text), passage(text, start=120)
    assert support(Sources([whole]), "entitled to a refund.").verified
    assert not support(Sources([cut]), "entitled to a refund.").verified
    assert support(Sources([cut]), "The fee is 40 euros.").verified
    long = "It is so. " * 50 + "The fee is refundable"
    assert not support(Sources([passage(long)]), "The fee is refundable").verified
    assert support(Sources([passage(long + ".")]), "The fee is refundable").verified


@pytest.mark.parametrize(
    ("source", "claim"),
    [
        ("Die Gebühr ist nicht erstattbar.", "Die Gebühr ist erstattbar."),
        ("Nicht alle Mitglieder zahlen.", "alle Mitglieder zahlen."),
        ("Es stimmt nicht: die Gebühr ist erstattbar.", "die Gebühr ist erstattbar."),
        ("La cuota no es reembolsable.", "La cuota es reembolsable."),
        ("¿La cuota es reembolsable?", "La cuota es reembolsable."),
        ("员工不可以休假。", "员工可以休假。"),
        ("员工不可以休假。", "可以休假。"),
        ("如果下雨，比赛取消。", "比赛取消。"),
        ("社員は休めません。", "社員は休め"),
        ("The fee is refundable if you ask.", "The fee is refundable."),
        ("The fee is refundable, unless you cancel.", "The fee is refundable."),
        ("The fee is refundable (except on Sundays).", "The fee is refundable."),
        ("The fee is refundable – in theory.", "The fee is refundable."),
        ("The fee might be refundable; nobody knows.", "The fee might be refundable."),
        ("Up to 40 euros are refunded.", "40 euros"),
        ("40 million euros are refunded.", "40"),
        ("The price is ~~30 euros~~ 40 euros.", "30 euros"),
        ("The Bank of America pays.", "America"),
        ("Version 1.2.3 runs.", "2.3"),
        ("Call +49 30 1234 now.", "30 1234"),
        ("He didn't pay the fee.", "He did pay the fee."),
        ("The ban was lifted, a decision later reversed.", "The ban was lifted."),
        ("False: the fee is 40 euros.", "the fee is 40 euros."),
        ("It is 40–60 euros.", "60 euros"),
        ("It is $40 a day.", "40 a day."),
        ("费用是40万元。", "40"),
    ],
)
def test_half_of_a_sentence_that_would_say_something_else(source: str, claim: str) -> None:
    for sentence in (claim, f"{claim} [1]"):
        assert "exact" not in kinds(sentence, source)
        assert "normalized" not in kinds(sentence, source)


def test_markers() -> None:
    text = "A [1], b[2, 3] c【2】 d [1-3] e [9] `x [1]` [2024]"
    found = find_markers(text, 3)
    assert [m.numbers for m in found] == [(1,), (2, 3), (2,), (1, 2, 3), ()]
    assert without(text, found) == "A, b c d e `x [1]` [2024]"
    assert [m.numbers for m in find_markers("[3-1] [0] [1-999]", 2)] == [(), (), (1, 2)]


@pytest.mark.parametrize(
    ("text", "held"),
    [("a [", 2), ("a [1", 2), ("a [1, 2", 2), ("a 【", 2), ("a [1]", 5), ("a [x", 4), ("", 0), ("[" + "1" * 80, 81)],
)
def test_only_what_may_become_a_marker_is_held_back(text: str, held: int) -> None:
    assert held_from(text) == held


def test_every_prefix_of_a_marker_is_held_back() -> None:
    longest = "[ 100" + " , 100" * 9 + " ]"
    assert MARKER.fullmatch(longest)
    assert all(held_from("x" + longest[:n]) == 1 for n in range(1, len(longest)))


def test_terms() -> None:
    assert terms("The Members' FEES") == terms("member fee")
    assert terms("1,000 and 1.000") == ["1000", "1000"]
    assert number("1.50") == "1.50"
    assert number("0.125") == "0.125"
    assert terms("机器学习") == ["机器", "器学", "学习"]
    assert measures("It has 5 MW and 140 workers") == {("5", "mw"), ("140", "work")}
    assert is_negated("he doesn’t")
    assert is_negated("未完成")
    assert not is_negated("see No. 5")
