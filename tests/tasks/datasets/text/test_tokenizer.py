"""Texts as tokens: nothing is lost, nothing is unknown, and the same texts give the same tokens."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from graft.data.inputs import BYTES, PADDING
from tasks.artifacts.splits import load_split
from tasks.common.errors import GraftError
from tasks.datasets.text.tokenizer import TOKENIZER, encode, load_tokenizer, train_tokenizer, vocabulary_size

TEXTS = ["the cat sat on the mat", "the dog sat on the log", "free entry: win £100 now!"] * 4


@pytest.mark.parametrize("words", [False, True])
def test_the_same_texts_give_the_same_file_whatever_their_order(tmp_path: Path, words: bool) -> None:
    for name, texts in (("one", TEXTS), ("two", TEXTS[::-1])):
        train_tokenizer(texts, 300, words=words).save(str(tmp_path / name))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_frequent_words_become_one_token_and_bytes_stay_bytes() -> None:
    words, plain = train_tokenizer(TEXTS, 300), train_tokenizer(TEXTS, BYTES)
    assert len(words.encode("the cat").ids) < len(plain.encode("the cat").ids) == len(" the cat")


def test_words_are_whole_and_one_token_stands_for_all_that_are_rare() -> None:
    tokenizer = train_tokenizer(TEXTS, 6, words=True)
    assert tokenizer.get_vocab_size() == 6
    encoded = tokenizer.encode("The cat sat: on the zebra")
    assert encoded.tokens == ["the", "<unknown>", "sat", "<unknown>", "on", "the", "<unknown>"]
    assert PADDING not in encoded.ids


@example("a <pad> is text")
@given(st.text(max_size=40))
def test_no_text_has_an_unknown_token_and_every_text_can_be_read_back(text: str) -> None:
    import unicodedata

    tokenizer = train_tokenizer(TEXTS, BYTES, lowercase=False)
    read_back = tokenizer.decode(tokenizer.encode(text).ids)
    assert read_back.removeprefix(" ") == unicodedata.normalize("NFC", text).removeprefix(" ")


def test_short_texts_are_filled_up_and_long_ones_cut() -> None:
    tokens, counts = encode(train_tokenizer(TEXTS, BYTES), ["", "ab", "abcdefgh"], 4)
    assert counts.tolist() == [0, 3, 9]  # a blank comes before the first word
    assert tokens.shape == (3, 4)
    assert tokens.dtype == np.int32
    assert (tokens != PADDING).sum(axis=1).tolist() == [0, 3, 4]


def test_packed_texts_come_back_with_the_size_of_their_vocabulary(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 280)
    tokenizer.save(str(tmp_path / "made"))
    folder = tmp_path / "packed"
    folder.mkdir()
    tokens, _ = encode(tokenizer, TEXTS, 8)
    np.save(folder / "tokens.npy", tokens)
    np.save(folder / "labels.npy", np.arange(12) % 2)
    (folder / "classes.json").write_text('["ham", "spam"]')
    (tmp_path / "made").rename(folder / TOKENIZER)
    split = load_split(folder)
    assert split.vocabulary == tokenizer.get_vocab_size() == vocabulary_size(folder / TOKENIZER)
    assert (split.images.numpy() == tokens).all()
    assert load_tokenizer(folder / TOKENIZER).encode("the").ids == tokenizer.encode("the").ids


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / TOKENIZER).write_text("{}")
    with pytest.raises(GraftError, match="not a tokenizer that can be read"):
        load_tokenizer(tmp_path / TOKENIZER)
    with pytest.raises(ValueError, match="is not a tokenizer"):
        vocabulary_size(tmp_path / TOKENIZER)
