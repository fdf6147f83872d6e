"""What the executor writes, stock DVC would have written: the same `dvc.lock`, byte for byte; nothing is left to do."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.executor.processes.runner import LocalRunner
from tests.tasks.support.dvc_sandbox import Sandbox, dvc, new_sandbox
from tests.tasks.support.git_origin import commit_all


def assert_same(ours: Sandbox, stock: Sandbox, *files: str) -> None:
    for file in ("dvc.lock", *files):
        assert ours.read(file) == stock.read(file), file


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    """Stages in an order of the file that need not be that of the graph, each fed by sources and by other stages."""
    names = draw(st.lists(st.sampled_from("abcdefg"), min_size=2, max_size=5, unique=True))
    stages: dict[str, Any] = {}
    made: list[str] = []
    for name in names:
        inputs = draw(st.lists(st.sampled_from(["s1.txt", "s2.txt", *made]), max_size=3, unique=True))
        out = f"{name}.txt"
        sources = " ".join(inputs)
        stage: dict[str, Any] = {
            "cmd": draw(
                st.sampled_from(
                    [
                        f"python -m join {out} {sources}",
                        f"cat /dev/null {sources} > {out}",
                        f"sleep 0.05; cat /dev/null {sources} > {out}",
                        [f"cat {sources} join.py > part-{name}", f"mv part-{name} {out}"],
                        f"mkdir {out} && cat {sources} s1.txt > {out}/one && echo {name} > {out}/two",
                    ]
                )
            ),
            "deps": ["join.py", *inputs],
            "outs": [out],
        }
        if "mkdir" not in stage["cmd"]:
            made.append(out)
        if draw(st.booleans()):
            stage["params"] = draw(st.lists(st.sampled_from(["lr", "nested.deep"]), min_size=1, unique=True))
        stages[name] = stage
    return {name: stages[name] for name in draw(st.permutations(names))}


EDITS = {
    "source": lambda sandbox: sandbox.write("s1.txt", "edited"),
    "parameter": lambda sandbox: sandbox.write("params.yaml", "lr: 1.5e-05\nnested: {deep: [1, {a: b}]}\n"),
    "code": lambda sandbox: sandbox.write("join.py", sandbox.read("join.py") + "# edited\n"),
    "lost cache": lambda sandbox: [
        path.unlink() for path in (sandbox.root / ".dvc/cache/files").rglob("*") if path.is_file()
    ],
    "lost lock": lambda sandbox: (sandbox.root / "dvc.lock").unlink(),
}


@pytest.mark.parametrize("graphs_tried", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_random_graphs_give_the_same_lock_file(
    tmp_path_factory: pytest.TempPathFactory, runner: LocalRunner, graphs_tried: int
) -> None:
    @settings(max_examples=graphs_tried, derandomize=True, deadline=None)
    @given(stages=graphs(), edit=st.sampled_from(sorted(EDITS)))
    def try_some(stages: dict[str, Any], edit: str) -> None:
        try_graph(new_sandbox(tmp_path_factory.mktemp("random") / "project", runner), stages, edit)

    try_some()


def try_graph(ours: Sandbox, stages: dict[str, Any], edit: str) -> None:
    ours.write("s1.txt", "one")
    ours.write("s2.txt", "two")
    ours.write("params.yaml", "lr: 0.001\nnested: {deep: yes, other: 1}\n")
    ours.stages(**stages)
    stock = ours.twin()

    assert set(ours.run().values()) == {"ran"}
    stock.stock()
    assert_same(ours, stock)
    assert ours.status() == {}

    EDITS[edit](ours)
    EDITS[edit](stock)
    ours.run()
    stock.stock()
    assert_same(ours, stock)
    assert ours.status() == {}
    assert set(stock.run().values()) == {"up_to_date"}


def test_entries_stand_in_stock_s_order_whichever_stage_is_ready_first(tmp_path: Path, runner: LocalRunner) -> None:
    ours = new_sandbox(tmp_path / "project", runner)
    ours.stages(
        last={"cmd": "cat 0.txt 1.txt 2.txt > last", "deps": ["2.txt", "0.txt", "1.txt"], "outs": ["last"]},
        each={
            "foreach": [0, 1, 2],
            "do": {"cmd": "sleep 0.${item}; echo ${item} > ${item}.txt", "outs": ["${item}.txt"]},
        },
    )
    stock = ours.twin()
    ours.run(jobs=3)
    stock.stock()
    assert_same(ours, stock)
    assert list(yaml.safe_load(ours.read("dvc.lock"))["stages"]) == ["each@2", "each@0", "each@1", "last"]

    for sandbox in (ours, stock):  # a new stage goes where stock puts it, the others keep their places
        pipeline = yaml.safe_load(sandbox.read("dvc.yaml"))["stages"]
        sandbox.stages(
            new={"cmd": "sleep 0.1; echo > new", "outs": ["new"]}, zero={"cmd": "echo > z", "outs": ["z"]}, **pipeline
        )
    ours.run(jobs=3)
    stock.stock()
    assert_same(ours, stock)


def test_every_kind_of_stage_is_treated_as_stock_treats_it(tmp_path: Path, runner: LocalRunner) -> None:
    ours = new_sandbox(tmp_path / "project", runner)
    ours.write("data/raw.txt", "raw")
    ours.write("given/x.txt", "x")
    ours.write("sub/params.yaml", "size: 3\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "theirs.txt").write_text("theirs")
    commit_all(elsewhere)
    with Repo(str(ours.root)) as repo:
        repo.add(str(ours.root / "data"))
        repo.imp_url(str(ours.root / "given"), str(ours.root / "imported"), no_exec=False)
        repo.imp(f"file://{elsewhere}", "theirs.txt", str(ours.root / "theirs.txt"))
    ours.write(
        "sub/dvc.yaml",
        yaml.safe_dump(
            {
                "stages": {
                    "inner": {"cmd": "cat ../data/raw.txt > y", "deps": ["../data"], "params": ["size"], "outs": ["y"]}
                }
            }
        ),
    )
    ours.stages(
        several={"cmd": ["echo 1 > one", "echo 2 > two\necho 3 >> two"], "outs": ["one", "two"]},
        here={"cmd": "cat ../sub/y > made", "wdir": "data2", "deps": ["../sub/y"], "outs": ["made"]},
        metric={
            "cmd": "echo '{\"accuracy\": 0.5}' > metrics.json; echo x > plain.txt",
            "deps": ["imported", "theirs.txt", "data2/made"],
            "metrics": [{"metrics.json": {"cache": False}}],
            "outs": [{"plain.txt": {"cache": False}}],
        },
        kept={"cmd": "echo more >> log.txt", "deps": ["data"], "outs": [{"log.txt": {"persist": True}}]},
        always={"cmd": "echo a > always.txt", "always_changed": True, "outs": ["always.txt"]},
        callback={"cmd": "true"},
        frozen={"cmd": "echo never > made-by-hand", "deps": ["two"], "outs": ["made-by-hand"], "frozen": True},
        environment={
            "cmd": "test -d $DVC_ROOT/.dvc && echo $DVC_STAGE $(basename $PWD) > env.txt",
            "outs": ["env.txt"],
            "wdir": "sub",
        },
    )
    (ours.root / "data2").mkdir()
    ours.write("made-by-hand", "by hand")
    stock = ours.twin()

    first = ours.run()
    stock.stock()
    files = ("data.dvc", "imported.dvc", "theirs.txt.dvc", "sub/dvc.lock", "metrics.json", "log.txt", "made-by-hand")
    assert_same(ours, stock, *files)
    assert first["frozen"] == "committed"
    assert ours.read("sub/env.txt") == "environment sub\n"
    assert "always" in ours.status()

    ours.write("data/raw.txt", "new")
    stock.write("data/raw.txt", "new")
    assert ours.run()["sub/dvc.yaml:inner"] == "ran"
    stock.stock()
    assert_same(ours, stock, *files)
    assert ours.read("log.txt") == "more\nmore\n"

    for sandbox in (ours, stock):
        sandbox.write("theirs.txt", "edited here")
    assert ours.run()["theirs.txt.dvc"] == "committed"
    stock.stock()
    assert_same(ours, stock, *files, "theirs.txt")


def test_a_frozen_stage_waits_for_whoever_writes_what_it_reads(tmp_path: Path, runner: LocalRunner) -> None:
    """It is not remade, but it is recorded, and what was half-written would be recorded with it."""
    ours = new_sandbox(tmp_path / "project", runner)
    ours.write("made", "by hand")
    ours.stages(
        writes={"cmd": "echo half > read; sleep 0.5; echo whole > read", "outs": ["read"]},
        frozen={"cmd": "false", "deps": ["read"], "outs": ["made"], "frozen": True},
    )
    stock = ours.twin()
    assert ours.run(jobs=2) == {"writes": "ran", "frozen": "committed"}
    stock.stock()
    assert_same(ours, stock, "read")


def test_stock_has_nothing_to_do_after_us_and_we_nothing_after_stock(tmp_path: Path, runner: LocalRunner) -> None:
    """With the real command, in a Git repository: `.gitignore` and what Git sees are the same too."""
    ours = new_sandbox(tmp_path / "project", runner, git=True)
    ours.write("params.yaml", "lr: 0.1\n")
    ours.stages(
        make={
            "matrix": {"n": [3, 1, 2]},
            "cmd": "sleep 0.${item.n}; echo ${item.n} > o-${item.n}",
            "params": ["lr"],
            "outs": ["o-${item.n}"],
        },
        use={"cmd": "cat o-1 o-2 > use.txt", "deps": ["o-1", "o-2"], "outs": ["use.txt"]},
    )
    stock = ours.twin()

    ours.run()
    dvc(stock.root, "repro")
    assert_same(ours, stock, ".gitignore")
    assert git_status(ours) == git_status(stock)
    assert "up to date" in dvc(ours.root, "status")
    assert "up to date" in dvc(ours.root, "repro")
    assert set(stock.run().values()) == {"up_to_date"}


def git_status(sandbox: Sandbox) -> str:
    command = ["git", "status", "--porcelain", "--untracked-files=all"]
    return subprocess.run(command, cwd=sandbox.root, check=True, capture_output=True, text=True).stdout


def test_outputs_are_staged_if_the_project_asks_for_it(tmp_path: Path, runner: LocalRunner) -> None:
    ours = new_sandbox(tmp_path / "project", runner, git=True)
    ours.write(".dvc/config", "[core]\n    autostage = true\n")
    ours.stages(
        one={"cmd": "echo 1 > one", "outs": ["one"]}, two={"cmd": "cat one > two", "deps": ["one"], "outs": ["two"]}
    )
    stock = ours.twin()
    ours.run()
    stock.stock()
    assert git_status(ours) == git_status(stock)
    assert "A  dvc.lock" in git_status(ours)


def test_a_failed_stage_leaves_nothing_in_the_lock_file_and_loses_nothing_finished(
    tmp_path: Path, runner: LocalRunner
) -> None:
    ours = new_sandbox(tmp_path / "project", runner)
    ours.stages(
        good={"cmd": "echo 1 > one", "outs": ["one"]},
        bad={"cmd": "cat one > two; exit 1", "deps": ["one"], "outs": ["two"]},
    )
    with pytest.raises(Exception, match="stage bad failed"):
        ours.run()
    assert list(yaml.safe_load(ours.read("dvc.lock"))["stages"]) == ["good"]
    ours.stages(
        good={"cmd": "echo 1 > one", "outs": ["one"]}, bad={"cmd": "cat one > two", "deps": ["one"], "outs": ["two"]}
    )
    stock = ours.twin()
    assert ours.run() == {"good": "up_to_date", "bad": "ran"}
    stock.stock()
    assert_same(ours, stock)


def test_comments_and_stale_entries_of_the_lock_file_survive_as_with_stock(tmp_path: Path, runner: LocalRunner) -> None:
    ours = new_sandbox(tmp_path / "project", runner)
    ours.stages(one={"cmd": "echo 1 > one", "outs": ["one"]}, two={"cmd": "echo 2 > two", "outs": ["two"]})
    ours.stock()
    lock = ours.read("dvc.lock").replace("'2.0'", '"2.0"').replace("  two:", "  # of two\n  two:")
    ours.write("dvc.lock", f"# kept\n{lock}datasets: []\n")
    stages = {"two": {"cmd": "echo 22 > two", "outs": ["two"]}, "three": {"cmd": "echo 3 > three", "outs": ["three"]}}
    ours.stages(**stages)
    stock = ours.twin()
    ours.run()
    stock.stock()
    assert_same(ours, stock)
    assert "# of two" in ours.read("dvc.lock")
    assert "one:" in ours.read("dvc.lock")
