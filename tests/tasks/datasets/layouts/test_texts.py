"""Texts in every layout: what is read, what is refused, and what is packed."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graft.data.inputs import BYTES, PADDING
from tasks.artifacts.splits import load_split, load_texts
from tasks.common.errors import GraftError
from tasks.datasets.check import check_data
from tasks.datasets.layouts.domain import Domain, LabelledTexts
from tasks.datasets.layouts.manifest import Columns
from tasks.datasets.layouts.recognise import open_domain
from tasks.datasets.text.tokenizer import TOKENIZER, encode, load_tokenizer
from tasks.prepare import prepare
from tasks.settings.prepare import PrepareSettings
from tests.tasks.support.text_data import save_tsv, sentences, text_project

ROWS = [("ham", 'He said "hi'), ("spam", "win £100, now"), ("ham", "  so\u2028long "), ("spam", "free")]
any_line = st.text(st.characters(exclude_characters="\t\r\n\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


def read(domain: Domain, split: str) -> list[tuple[str, str]]:
    found = domain.splits[split]
    assert isinstance(found, LabelledTexts)
    return [(domain.classes[label], found.read(k)) for k, label in enumerate(found.labels)]


def faults(root: Path, columns: Columns | None = None) -> str:
    return "\n".join(map(str, open_domain(root, "raw", columns).faults))


class TestLayouts:
    def test_a_tsv_without_headings_takes_quotes_as_they_are(self, tmp_path: Path) -> None:
        save_tsv(tmp_path / "raw/train.tsv", ROWS)
        save_tsv(tmp_path / "raw/test.tsv", ROWS[:1] * 2)
        domain = open_domain(tmp_path, "raw")
        assert not domain.faults
        assert (domain.layout, domain.classes) == ("texts without headings", ["ham", "spam"])
        assert read(domain, "train") == [(label, text.strip()) for label, text in ROWS]
        assert domain.splits["test"].names == ["raw/test.tsv:1", "raw/test.tsv:2"]

    def test_a_csv_has_quoted_cells_splits_domains_and_groups(self, tmp_path: Path) -> None:
        path = tmp_path / "raw/all.csv"
        path.parent.mkdir()
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["sentence", "label", "split", "domain", "thread"])
            for k, (label, text) in enumerate(ROWS * 2):
                writer.writerow([text + "\nend", label, "train" if k < 6 else "test", "xy"[k % 2], str(k // 2)])
        domain = open_domain(tmp_path, "raw", Columns("y", "", "thread"))
        assert not domain.faults
        assert domain.layout == "texts"
        assert domain.classes == ["spam"]
        assert read(domain, "train") == [
            ("spam", text + "\nend") for text in ("win £100, now", "free", "win £100, now")
        ]
        assert domain.splits["train"].groups == ["0", "1", "2"]
        assert "several domains: x, y; choose one with" in faults(tmp_path)
        assert "no column 'who' (prepare.*_group_column)" in faults(tmp_path, Columns("y", "", "who"))
        path.write_text("label,text\nham,one\nspam,two\n" + "x" * 201 + ",three\n")
        expected = (
            "raw: characters of a label, 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'…: 201, at most 200; is it the column of"
        )
        assert expected in faults(tmp_path)
        path.write_text("label,text,thread\nham,one,t1\nspam,two,\n")
        assert faults(tmp_path, Columns("", "", "thread")) == "raw/all.csv:3: no thread"

    def test_json_lines_and_columns_of_other_names(self, tmp_path: Path) -> None:
        (tmp_path / "raw").mkdir()
        lines = [json.dumps({"kind": 1, "body": text}) for _, text in ROWS] + ['{"kind": 0, "body": "other"}']
        (tmp_path / "raw/all.jsonl").write_text("\n".join(lines))
        domain = open_domain(tmp_path, "raw", Columns(label="kind", text="body"))
        assert not domain.faults
        assert (domain.classes, len(domain.splits["train"])) == (["0", "1"], 5)
        assert "no column for the text (text or sentence" in faults(tmp_path)

    def test_a_file_a_domain_and_split(self, tmp_path: Path) -> None:
        for name in ("imdb", "yelp"):
            save_tsv(tmp_path / f"raw/{name}/train.tsv", [*ROWS, ("ham", name)])
            save_tsv(tmp_path / f"raw/{name}/test.tsv", ROWS)
        domain = open_domain(tmp_path, "raw", Columns("yelp"))
        assert not domain.faults
        assert (domain.path, read(domain, "train")[-1]) == ("raw/yelp", ("ham", "yelp"))
        assert "several domains: imdb, yelp; choose one with" in faults(tmp_path)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            (
                "all.tsv",
                b"ham\thi\nspam\tbuy\tnow\nham\tho\n",
                "raw/all.tsv: line 2: 3 cells, but 2 are needed without headings",
            ),
            ("all.tsv", b"v1\tv2\nham\thi\nham\tho\n", "line 1: neither headings (one of"),
            ("all.tsv", b"label\ttext\tsplit\nham\thi\tlater\n\thi\ttrain\n", "all.tsv:2: 'later' is not a split"),
            ("all.tsv", b"label\ttext\n\thi\n", "raw/all.tsv:2: no label"),
            ("all.tsv", b"ham\t\xff\n", "line 1: not UTF-8 (byte 0xff)"),
            ("all.csv", b'label,text\nham,"open\n', "line 2: unexpected end of data"),
            ("all.jsonl", b'{"label": "a", "text": "x"}\n{"label": 1, "label": 2}\n[]\n{', "line 2: not a JSON object"),
            ("all.jsonl", b'{"label": "a", "text": ["x"]}\n', "text is a list"),
            ("all.jsonl", b"[" * 100_000, "line 1: not a JSON object"),
            ("all.tsv", b"label\ttext\n", "no training texts"),
        ],
    )
    def test_what_is_wrong_is_told_with_file_and_line(
        self, tmp_path: Path, name: str, content: bytes, message: str
    ) -> None:
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw" / name).write_bytes(content)
        assert message in faults(tmp_path)

    @given(st.binary(max_size=200), st.sampled_from(["all.tsv", "all.csv", "all.jsonl"]), st.booleans())
    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_any_bytes_give_faults_and_no_exception(
        self, tmp_path: Path, content: bytes, name: str, headed: bool
    ) -> None:
        shutil.rmtree(tmp_path / "raw", ignore_errors=True)
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw" / name).write_bytes((b"label\ttext\n" if headed else b"") + content)
        domain = open_domain(tmp_path, "raw")
        assert domain.faults or domain.splits

    @given(st.lists(st.tuples(st.sampled_from(["a", "b"]), any_line), min_size=2, max_size=8))
    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_what_is_written_is_read_again(self, tmp_path: Path, rows: list[tuple[str, str]]) -> None:
        save_tsv(tmp_path / "raw/train.tsv", rows, headings=("label", "text"))
        domain = open_domain(tmp_path, "raw")
        assert not domain.faults
        found = domain.splits["train"]
        assert isinstance(found, LabelledTexts)
        assert [(domain.classes[k], text) for k, text in zip(found.labels, found.texts, strict=True)] == [
            (label, text.strip()) for label, text in rows
        ]


class TestPrepare:
    def hashes(self, root: Path) -> dict[str, str]:
        files = sorted(path for path in (root / "build/data").rglob("*") if path.is_file())
        return {str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest() for path in files}

    def card(self, root: Path) -> dict:
        return json.loads((root / "build/data/card.json").read_text())["domains"]

    def test_texts_are_packed_as_tokens_beside_what_they_were(self, tmp_path: Path) -> None:
        root = text_project(tmp_path)
        prepare(root, PrepareSettings(text_vocabulary=400, text_length=8))
        target = sentences(120, seed=2)
        for name, expected in (("pool", target[:80]), ("test", target[80:])):
            split, folder = load_split(root / "build/data" / name), root / "build/data" / name
            assert load_texts(folder) == [text for _, text in expected]
            assert [split.classes[label] for label in split.labels] == [label for label, _ in expected]
            tokens, counts = encode(load_tokenizer(folder / TOKENIZER), [text for _, text in expected], 8)
            np.testing.assert_array_equal(split.images.numpy(), tokens)
            entry = self.card(root)[name]
            assert (entry["kind"], entry["n"], entry["cut"]) == ("texts", len(expected), (counts > 8).sum())
            assert entry["tokens"] == [counts.min(), sorted(counts)[(len(counts) - 1) // 2], counts.max()]
        assert self.card(root)["pool"]["examples"]["bad"][0] == target[0][1]

    def test_the_same_texts_give_the_same_bytes(self, tmp_path: Path) -> None:
        roots = [text_project(tmp_path / name) for name in ("one", "other")]
        for root in roots:
            prepare(root, PrepareSettings())
        assert self.hashes(roots[0]) == self.hashes(roots[1])

    def test_the_tokenizer_never_sees_a_text_that_tests(self, tmp_path: Path) -> None:
        root = text_project(tmp_path)
        prepare(root, PrepareSettings(text_vocabulary=2000))
        before = (root / "build/data/pool" / TOKENIZER).read_bytes()
        save_tsv(root / "data/target/test.tsv", [("good", "zyzzyva " * 9), ("bad", "quokka " * 9)])
        prepare(root, PrepareSettings(text_vocabulary=2000))
        assert (root / "build/data/pool" / TOKENIZER).read_bytes() == before
        shutil.rmtree(root / "data/target")  # nor one that is parted off to test
        rows = [(label, f"{text} unique{k}unique") for k, (label, text) in enumerate(sentences(40, seed=3))]
        save_tsv(root / "data/target/all.tsv", rows * 2)
        prepare(root, PrepareSettings(text_vocabulary=2000, test_fraction=0.5))
        pieces = json.loads((root / "build/data/pool" / TOKENIZER).read_text())["model"]["vocab"]
        for text in load_texts(root / "build/data/test") or []:
            assert f"Ġ{text.split()[-1]}" not in pieces

    def test_bytes_need_no_vocabulary_and_pictures_can_stand_beside_texts(self, tmp_path: Path) -> None:
        from tests.tasks.support.raw_data import good_project

        root = good_project(tmp_path)
        save_tsv(root / "data/words/train.tsv", sentences(40, seed=1))
        prepare(root, PrepareSettings(image_size=8, target="data/words", text_tokens="bytes"))
        pool = load_split(root / "build/data/pool")
        assert pool.vocabulary == BYTES
        assert (pool.images[0] != PADDING).sum() == len((load_texts(root / "build/data/pool") or [""])[0]) + 1
        assert {name: entry["kind"] for name, entry in self.card(root).items()} == {
            "source": "images",
            "pool": "texts",
            "test": "texts",
        }
        prepare(root, PrepareSettings(image_size=8, source="data/words", text_tokens="bytes"))
        assert (self.card(root)["source"]["kind"], self.card(root)["pool"]["kind"]) == ("texts", "images")

    def test_leaks_and_empty_texts_are_told_together_and_can_be_skipped(self, tmp_path: Path) -> None:
        root = text_project(tmp_path)
        twin = sentences(120, seed=2)[0][1]
        with (root / "data/target/test.tsv").open("a") as file:
            file.write(f"good\t{twin.replace(' ', '  ')}\ngood\t \n")
        said = [str(fault) for fault in check_data(root, PrepareSettings())]
        assert said == [
            "data/target/test.tsv:42: no text",
            "data/target/test.tsv:41: this text of the test split is in the pool split too: data/target/train.tsv:1",
        ]
        with pytest.raises(GraftError, match="no text"):
            prepare(root, PrepareSettings())
        save_tsv(root / "data/target/test.tsv", [*sentences(120, seed=2)[80:], ("good", "")])
        prepare(root, PrepareSettings(on_error="skip"))
        assert self.card(root)["test"]["skipped"] == ["data/target/test.tsv:41: no text"]
        assert len(load_texts(root / "build/data/test") or []) == len(load_split(root / "build/data/test")) == 40

    def test_groups_are_never_divided_and_classes_are_mapped(self, tmp_path: Path) -> None:
        root = text_project(tmp_path)
        shutil.rmtree(root / "data/target")
        rows = [("no" if label == "bad" else label, text, f"t{k // 4}") for k, (label, text) in
                enumerate(sentences(40, seed=4))]  # fmt: skip
        save_tsv(root / "data/target/all.tsv", rows, headings=("label", "text", "thread"))
        prepare(root, PrepareSettings(target_group_column="thread", class_map={"bad": "no"}))
        thread = {text: group for _, text, group in rows}
        pool, test = (
            {thread[text] for text in load_texts(root / "build/data" / name) or []} for name in ("pool", "test")
        )
        assert not pool & test
        assert load_split(root / "build/data/source").classes == ("good", "no")
        assert load_split(root / "build/data/pool").groups is not None
