import json
import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from graft.settings import Augmentation, Training
from tasks.common.errors import GraftError
from tasks.common.places import CARD
from tasks.settings.pretrain import PretrainSettings
from tasks.settings.yaml_sections import parse, read_section
from tasks.trials.plan import Entry, read_plan
from tests.house.imports import ROOT


def problems(values: object, kind: type = Training) -> list[str]:
    with pytest.raises(GraftError) as caught:
        parse(values, kind, where="params.yaml: finetune.training")
    return caught.value.problems


def test_values_become_a_frozen_dataclass_and_the_rest_are_defaults() -> None:
    parsed = parse({"steps": 10, "augmentation": {"crop": 2}}, Training, where="")
    assert parsed == Training(steps=10, augmentation=Augmentation(crop=2))


def test_all_faults_are_reported_at_once_with_key_value_and_choices() -> None:
    bad = {"stepz": 1, "batch_size": -3, "precision": "fp8", "augmentation": {"flip": 3, "flop": 1}}
    found = "\n".join(problems(bad))
    assert "params.yaml: finetune.training.stepz: unknown key; did you mean 'steps'? (valid: augmentation," in found
    assert "training.batch_size: input should be greater than or equal to 1, got -3" in found
    assert "training.precision: input should be 'auto', 'float32' or 'bfloat16', got 'fp8'" in found
    assert "training.augmentation.flip: input should be less than or equal to 1, got 3" in found
    assert "training.augmentation.flop: unknown key; did you mean 'flip'?" in found


@pytest.mark.parametrize("value", ["10", 10.5, True, None, [1], {}])
def test_nothing_is_taken_for_a_number_that_is_none(value: object) -> None:
    assert "steps: input should be a valid integer" in problems({"steps": value})[0]


@given(
    st.dictionaries(
        st.sampled_from([field.name for field in fields(Training)]) | st.text(max_size=8),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.lists(st.integers(), max_size=2),
        max_size=5,
    )
)
def test_any_mapping_is_parsed_or_refused_with_words(values: dict[str, object]) -> None:
    try:
        parsed = parse(values, Training, where="here")
    except GraftError as error:
        assert all(problem.startswith("here") for problem in error.problems)
    else:
        assert asdict(parsed) == asdict(Training()) | {k: v for k, v in values.items() if k != "augmentation"}


def test_a_missing_section_takes_every_default(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("other: {}\n")
    assert read_section(tmp_path / "p.yaml", "training", Training) == Training()


class TestTheProjectsParameters:
    """`graft run` checks all of params.yaml before anything starts."""

    @pytest.fixture
    def edit(self, tmp_path: Path):
        content = yaml.safe_load((ROOT / "params.yaml").read_text())

        def write(**sections: object) -> Path:
            (tmp_path / "params.yaml").write_text(yaml.safe_dump({**content, **sections}))
            return tmp_path

        return write

    def faults(self, root: Path) -> str:
        from tasks.checks.parameters import check_parameters

        with pytest.raises(GraftError) as caught:
            check_parameters(root, knobs=True)
        return str(caught.value)

    def test_those_of_the_demo_are_fine(self, edit) -> None:
        from tasks.checks.parameters import check_parameters

        check_parameters(edit(), knobs=True)

    def test_what_needs_no_torch_is_checked_without_it(self, edit) -> None:
        from tasks.checks.parameters import check_parameters

        bad = {"strategies": {"scratch": {}, "mcc": {}, "loar": {}}, "seeds": [], "tune": {"trials": -1}}
        with pytest.raises(GraftError) as caught:
            check_parameters(edit(**bad, label_free={"fine_tune": {}}))
        found = str(caught.value)
        assert "strategies.mcc: needs no labels; move it to `label_free`" in found
        assert "label_free.fine_tune: learns from labels" in found
        assert "strategies.loar: unknown strategy; did you mean 'lora'?" in found
        assert "seeds: at least one" in found
        assert "tune.trials: input should be greater than or equal to 0, got -1" in found

    def test_what_a_strategy_needs_is_read_from_its_file_as_its_class_has_it(self) -> None:
        from graft.strategies import strategy_class, strategy_names
        from tasks.settings.strategy_files import needs_labels

        names = strategy_names()
        assert {name: needs_labels(name) for name in names} == {n: strategy_class(n).uses_labels for n in names}
        assert needs_labels("none_such") is None

    def test_a_label_budget_is_held_against_the_pool_that_was_packed(self, edit) -> None:
        from tasks.checks.parameters import check_label_budget

        root = edit(label_budgets=[1, 40])
        check_label_budget(root)  # nothing is packed yet
        (root / CARD).parent.mkdir(parents=True)
        (root / CARD).write_text('{"domains": {"pool": {"classes": {"ant": 50, "bee": 39}}}}')
        with pytest.raises(GraftError, match=r"label_budgets: 40 labels .* bee has 39; `all` uses every .* is 39$"):
            check_label_budget(root)

    @pytest.mark.parametrize(
        ("budgets", "counts", "message"),
        [
            (["all"], {"ant": 5000, "bee": 2}, None),
            (["all", 30], {"ant": 50, "bee": 40}, None),
            (["all"], {"ant": 50, "bee": 1}, "`all` needs two images per class"),
            ([5000, "all"], {"ant": 50, "bee": 40}, "`all` uses every image; as a number, the largest label budget"),
            (["all", 40], {"ant": 60, "bee": 50}, None),
            (["all", 41], {"ant": 60, "bee": 51}, None),
            (["all", 6], {"ant": 60, "bee": 5}, "6 labels per class are asked for"),
        ],
    )
    def test_all_asks_for_two_pictures_of_a_class(self, edit, budgets: list, counts: dict, message: str | None) -> None:
        from tasks.checks.parameters import check_label_budget

        root = edit(label_budgets=budgets)
        (root / CARD).parent.mkdir(parents=True)
        (root / CARD).write_text(json.dumps({"domains": {"pool": {"classes": counts}}}))
        if message is None:
            check_label_budget(root)
            return
        with pytest.raises(GraftError) as caught:
            check_label_budget(root)
        assert message in str(caught.value)

    @pytest.mark.parametrize(
        ("budgets", "message"),
        [
            (["most"], "entry 1: expected a number of labels per class, 1 or more, or the word `all`, got 'most'"),
            (["50"], "entry 1: expected a number of labels per class, 1 or more, or the word `all`, got '50'"),
            ([True], "entry 1: expected a number"),
            (["all", "all"], "label_budgets: all is given twice"),
            ([], "such as [10] or [all]"),
            ("all", "write [all]"),
        ],
    )
    def test_label_budgets_are_numbers_or_the_word_all(self, edit, budgets: object, message: str) -> None:
        assert message in self.faults(edit(label_budgets=budgets))

    def test_graft_plans_the_trials_that_dvc_runs(self, edit) -> None:
        """Both take `010` for 10, which is 8 in YAML 1.1."""
        root = edit()
        text = (root / "params.yaml").read_text() + "seeds: [0, 010, 0o17]\nlabel_budgets: [1_0]\n"
        text = re.sub(r"(?m)^(seeds|label_budgets):\n(- .*\n)+", "", text)
        (root / "params.yaml").write_text(text.replace("learning_rate: 0.01\n", "learning_rate: 1e-2\n"))
        assert read_plan(root / "params.yaml").seeds == (0, 10, 15)
        assert read_plan(root / "params.yaml").budgets == (10,)
        assert read_section(root / "params.yaml", "pretrain", PretrainSettings).training.learning_rate == 0.01

    def test_all_comes_last_in_the_plan(self, edit) -> None:
        plan = read_plan(edit(label_budgets=["all", 10, 2]) / "params.yaml")
        assert (plan.budgets, plan.budget, plan.most_labels) == ((2, 10, "all"), "all", 10)
        names = [entry.name for entry in plan.entries() if entry.strategy == "fine_tune"]
        assert names[-1] == f"fine_tune-all-{plan.seeds[-1]}"
        assert Entry("fine_tune", "all", 0).stage == "finetune@fine_tune-all-0"

    def test_every_fault_of_every_section_at_once(self, edit) -> None:
        found = self.faults(
            edit(
                seeds=[0, 0, 1],
                strategies={"finetune": {}, "mixed_training": {"source_share": 2}, "linear_probe": {"rate": 1}},
                label_budgets=[5, 0],
                label_free={"linear_probe": {}, "fine_tune": {}},
                finetune={"labels_per_class": 5},
                pretran={},
            )
        )
        assert "seeds: 0 is given twice" in found
        assert "strategies.finetune: unknown strategy; did you mean 'fine_tune'?" in found
        assert "'scratch' is missing" in found
        assert "strategies.mixed_training.source_share: input should be less than or equal to 1, got 2" in found
        assert "strategies.linear_probe.rate: unknown key" in found
        assert (
            "label_budgets, entry 2: expected a number of labels per class, 1 or more, or the word `all`, got 0"
            in found
        )
        assert "label_free.fine_tune: learns from labels; move it to `strategies`" in found
        assert "finetune.labels_per_class: unknown key" in found
        assert "unknown section 'pretran'; did you mean 'pretrain'?" in found

    @pytest.mark.parametrize(
        ("seeds", "message"),
        [([], "at least one seed"), ([-1], "entry 1: input should be greater than or equal to 0"), (5, r"write [5]")],
    )
    def test_seeds_are_a_list_of_counts(self, edit, seeds: object, message: str) -> None:
        assert message in self.faults(edit(seeds=seeds))
