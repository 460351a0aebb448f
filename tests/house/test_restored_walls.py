"""The walls read the same in a database that was dumped and restored (goal 14)."""

import pytest

from provenance.catalog import as_restored


@pytest.mark.parametrize(
    ("made", "read_back"),
    [
        (
            "CHECK (((status)::text = ANY ((ARRAY['a'::character varying, 'it''s'::character varying])::text[])))",
            "CHECK (((status)::text = ANY (ARRAY[('a'::character varying)::text, ('it''s'::character varying)::text])))",
        ),
        ("CHECK ((size > 0))", "CHECK ((size > 0))"),
    ],
)
def test_a_list_of_words_reads_as_after_a_restore(made, read_back):
    assert as_restored(made) == read_back
    assert as_restored(read_back) == read_back


def test_another_word_in_the_list_still_differs():
    line = "CHECK ((x)::text = ANY ((ARRAY['a'::character varying, '{}'::character varying])::text[]))"
    assert as_restored(line.format("b")) != as_restored(line.format("c"))
