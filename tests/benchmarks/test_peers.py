"""`python -m benchmarks.peers` on data that takes a second: every peer answers, records survive, the tables agree."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks.peers import frozen, ours, tllib, tllib_methods, words
from benchmarks.peers.__main__ import solved
from benchmarks.peers.cell import Case, Cell, Texts
from benchmarks.peers.records import Held, Record, append, read_records
from benchmarks.peers.shapes import SHAPES, shapes
from benchmarks.peers.tables import ROW, judged, show
from benchmarks.study import Problem
from graft.data.sampling import draw_labels
from graft.data.split import Split
from graft.networks.efficientnet_lite import MEAN, STD
from graft.networks.network import Description, Frozen, Network
from tasks.new_project.answers import Answers

SEEDS = (0, 1)


def squares(each: int, seed: int) -> Split:
    """Grey images of 16 px, bright on the left or on the right."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 120, (2 * each, 1, 16, 16), generator=generator)
    images[:each, :, :, :8] += 100
    images[each:, :, :, 8:] += 100
    return Split(images.byte(), torch.arange(2).repeat_interleave(each), ("left", "right"))


@pytest.fixture(scope="module")
def case() -> Case:
    torch.manual_seed(0)
    pool, test = squares(20, seed=1), squares(15, seed=2)
    network = Network(Description("convnet_tiny", pool.classes, 1, 16)).eval()
    project = Answers("squares", backbone="convnet_tiny", image_size=16, channels=1, flip=False)
    short = (("finetune", "training", "steps"), 5), (("finetune", "training", "batch_size"), 8)
    return Case("squares", "digits", Problem(network, pool, test, None), network, replace(project, settings=short))


@pytest.fixture(scope="module")
def records(case: Case) -> list[Record]:
    peers = [*frozen.peers(), *ours.peers(("linear_probe", "fine_tune", "mixed_training"))]
    return [solved(Cell(case, 5, seed), peer) for seed in SEEDS for peer in peers]


def test_every_peer_gets_the_labels_that_graft_draws(case: Case) -> None:
    cell = Cell(case, 5, seed=3)
    drawn = draw_labels(case.problem.pool, 5, 3)
    assert cell.places.tolist() == drawn.paid.tolist()
    assert (cell.hidden >= 0).sum() == 10
    assert (cell.hidden[cell.places] == cell.known).all()


def test_peers_answer_and_those_that_cannot_say_why(records: list[Record]) -> None:
    for record in records:
        if record.peer in ("mixed_training", "logistic regression, source + target"):
            assert not record.said
            assert "source" in record.why_not
        else:
            assert len(record.said) == len(record.truth) == 30
            assert np.mean(np.array(record.said) == record.truth) > 0.6, record.peer


def test_a_source_of_the_same_classes_helps_where_labels_are_few(case: Case) -> None:
    source = replace(case, problem=replace(case.problem, source=squares(30, seed=3)))
    peer = next(peer for peer in frozen.peers() if peer.name.endswith("source + target"))
    found = solved(Cell(source, 2, seed=0), peer)
    assert np.mean(np.array(found.said) == found.truth) > 0.9


def test_what_graft_registers_is_chosen_by_the_folds_alone(records: list[Record]) -> None:
    (cell,) = judged(records)
    assert cell.registered
    assert cell.scores[ROW] == cell.scores[cell.registered.strategy]
    # With answers that are all wrong on the test split, the choice is the same.
    wrong = [replace(r, said=[1 - said for said in r.said]) if r.family == ours.FAMILY else r for r in records]
    (other,) = judged(wrong)
    assert other.registered
    assert other.registered.strategy == cell.registered.strategy
    assert not other.is_first


def test_out_of_fold_answers_choose() -> None:
    truth = [0, 1] * 10
    places = list(range(20))

    def record(name: str, said: list[int], folds: list[int]) -> Record:
        return Record("case", 10, 0, name, ours.FAMILY, 1.0, truth, said, Held(places, truth, folds), (1.0, 1.0, 1.0))

    wrong = [1 - label for label in truth]
    (cell,) = judged([record("good in folds", wrong, truth), record("good in the test", truth, wrong)])
    assert cell.registered
    assert (cell.registered.strategy, cell.registered.best) == ("good in folds", "good in the test")
    assert cell.regret == 1.0


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, records: list[Record]) -> None:
    path = tmp_path / "results" / "found.jsonl"
    for record in records[:3]:
        append(path, record)
    with path.open("a", encoding="utf-8") as file:
        file.write(records[3].line()[:40])
    assert [record.key for record in read_records([path])] == [record.key for record in records[:3]]
    append(path, records[3])
    assert read_records([path]) == records[:4]


@pytest.mark.parametrize("markdown", [False, True])
def test_the_tables_name_every_peer(records: list[Record], markdown: bool) -> None:
    console = Console(file=io.StringIO(), width=150)
    show(judged(records), console, markdown=markdown)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for name in (*(peer.name for peer in frozen.peers()), "linear_probe", ROW, "Who is first"):
        assert name in text
    assert "mixed_training is left out: " in text
    assert ("|---" in text) == markdown


def test_texts() -> None:
    good, bad = ["a fine day", "so good and fine", "good it is"], ["a bad day", "so bad and awful", "awful it is"]
    texts, labels = [*good, *bad] * 2, torch.tensor([0, 0, 0, 1, 1, 1] * 2)
    split = Split(torch.ones(12, 4, dtype=torch.int32), labels, ("good", "bad"), vocabulary=300)
    network = Network(Description("text_bag", split.classes, vocabulary=300, length=4))
    problem = Problem(network, split, split, split)
    case = Case("texts", "texts", problem, network, Answers("texts", backbone="text_bag"), Texts(texts, texts, texts))
    for peer in words.peers():
        found = solved(Cell(case, 4, seed=0), peer)
        assert np.mean(np.array(found.said) == found.truth) == 1.0, peer.name
    other = replace(case, problem=replace(problem, source=replace(split, classes=("ham", "spam"))))
    assert "same classes" in solved(Cell(other, 4, seed=0), words.peers()[1]).why_not


@pytest.mark.parametrize("name", tllib.METHODS)
def test_the_library_s_methods_train(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tllib_methods.Delta, "__init__", _without_attention)
    torch.manual_seed(0)
    pool = shapes(3, seed=0)
    small = replace(pool, images=pool.images[:][:, :, ::3, ::3].contiguous())
    weights = Network(Description("efficientnet_lite0", ("one", "two"), 3, 32, MEAN, STD)).eval()
    before = {key: value.clone() for key, value in weights.state_dict().items()}
    project = Answers("shapes", backbone="efficientnet_lite0", weights="weights/given.pth", image_size=32)
    case = Case("shapes", "photos", Problem(weights, small, small, None), weights, project)
    peer = next(peer for peer in tllib.peers(passes=0.1) if peer.name == name)
    found = solved(Cell(case, 2, seed=0), peer)
    assert len(found.said) == len(small), found.why_not
    assert all(torch.equal(before[key], value) for key, value in weights.state_dict().items())


def _without_attention(self: tllib_methods.Delta, weights: Network, paid: Split) -> None:
    tllib_methods.Method.__init__(self, weights, paid)
    self.source = Frozen(weights)
    self.places = tllib_methods._ends_of_strides(weights)
    self.names = [f"blocks.{place}.project.conv" for place in self.places]
    self.attention = [torch.full((count,), 1 / count) for count in (24, 40, 112, 320)]


def test_the_last_blocks_of_each_stride() -> None:
    weights = Network(Description("efficientnet_lite0", (), 3, 32, MEAN, STD))
    assert tllib_methods._ends_of_strides(weights) == [2, 4, 10, 15]


def test_shapes_are_drawn_the_same_again() -> None:
    first, second = shapes(2, seed=5), shapes(2, seed=5)
    assert torch.equal(first.images[:], second.images[:])
    assert first.classes == tuple(SHAPES)
