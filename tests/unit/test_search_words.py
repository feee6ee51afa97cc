"""Words are looked for as SQLite's tokenizer cuts them: an index without positions takes no phrases."""

import sqlite3
from contextlib import closing

from tallystick.storage.search_index import _words

_TABLE = """CREATE VIRTUAL TABLE found USING fts5 (words, content='', detail=column,
  tokenize="unicode61 remove_diacritics 2", prefix='2 3 4 5 6')"""


def test_no_character_makes_a_word_that_sqlite_cuts_in_two() -> None:
    """SQLite refuses such a word; a file's name is full of them: report.txt, a_b.csv, naïve-1.pdf."""
    with closing(sqlite3.connect(":memory:")) as index:
        index.execute(_TABLE)
        for code in (*range(0x3400), *range(0xA000, 0xAC00), *range(0xE000, 0x12000)):  # all but the ideographs
            for word in _words(f"a{chr(code)}b"):
                assert index.execute("SELECT rowid FROM found WHERE found MATCH ?", (f'"{word}"',)).fetchall() == []


def test_a_files_name_is_cut_at_its_dots_and_dashes() -> None:
    assert _words('report-2.txt "x" naïve e\u0301a') == ["report", "2", "txt", "x", "naïve", "e\u0301a"]
