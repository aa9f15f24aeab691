import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.parse.numfmt import BUILT_IN, general, show


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        (1234.5, "#,##0.00", "1,234.50"),
        (1234.5, "0", "1234"),
        (0.256, "0%", "26%"),
        (0.256, "0.0%", "25.6%"),
        (-5, "#,##0;(#,##0)", "(5)"),
        (-5, "0.00", "-5.00"),
        (-0.001, "0.00", "0.00"),
        (0, '0;-0;"none"', "none"),
        (12, '"EUR" 0', "EUR 12"),
        (12, "[$€-407] #,##0.00", "€ 12.00"),
        (12, "[Red]0.0", "12.0"),
        (7, "000", "007"),
        (1.5, "0.0##", "1.5"),
        (3, "0.##", "3"),
        (1_500_000, '0.0,,"M"', "1.5M"),
        (12345, "0.00E+00", "1.23E+04"),
        (0.5, "# ?/?", "0.5"),
        (45107, "yyyy-mm-dd", "2023-06-30"),
        (45107, "d mmmm yyyy", "30 June 2023"),
        (45107, "dddd, mmm d", "Friday, Jun 30"),
        (45107.75, "h:mm AM/PM", "6:00 PM"),
        (45107.5, "yyyy-mm-dd hh:mm", "2023-06-30 12:00"),
        (1.5, "[h]:mm:ss", "36:00:00"),
        (0.0105, "mm:ss", "15:07"),
        (1, "yyyy-mm-dd", "1900-01-01"),
        (61, "yyyy-mm-dd", "1900-03-01"),
        (-3, "yyyy-mm-dd", "-3"),
        (1e12, "yyyy-mm-dd", "1000000000000"),
        (5, "General", "5"),
        (5, 'General "pcs"', "5 pcs"),
        (5, "", "5"),
    ],
)
def test_as_a_person_sees_it(value: float, code: str, shown: str) -> None:
    assert show(value, code) == shown


def test_the_macintosh_epoch() -> None:
    assert show(0, "yyyy-mm-dd", epoch_1904=True) == "1904-01-01"


def test_general_hides_binary_fractions() -> None:
    assert general(0.1 + 0.2) == "0.3"
    assert general(1e15) == "1e+15"
    assert general(-4.0) == "-4"


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.one_of(st.text(max_size=20), st.sampled_from([*BUILT_IN.values()])),
)
def test_no_format_fails(value: float, code: str) -> None:
    assert isinstance(show(value, code), str)
