"""The transfers that are compared, each read from a folder of data or generated.

FOLDER holds what `benchmarks.photos` and `benchmarks.digits` read, and for texts sms_spam/{train,test}.tsv and
uci_sentences/DOMAIN/{train,test}.tsv, each line a label, a tab and a text.
"""

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.digits import SETTINGS
from benchmarks.peers.cell import Case, Texts
from benchmarks.peers.ours import section
from benchmarks.peers.shapes import shapes
from benchmarks.photos import SIZES, hymenoptera, imagenet, pacs
from benchmarks.study import Problem
from graft.data.split import Split
from tasks.datasets.pictures import fit
from tasks.datasets.text.tokenizer import encode, train_tokenizer
from tasks.new_project.answers import Answers
from tasks.settings.prepare import PrepareSettings
from tasks.settings.pretrain import PretrainSettings
from tasks.settings.yaml_sections import parse
from tasks.source_models.train import source_model

GIVEN = "weights/given.pth"
"""In the answers to `graft init`, any file of weights: a network for photos."""
PHOTOS = 128
SMALL = 16
"""Pixels of digits."""


def of_photos(name: str, build: Callable[[Path], Problem], size: int, data: Path) -> Case:
    """A case of photos, from the weights of ImageNet."""
    problem = build(data)
    project = Answers(name, backbone="efficientnet_lite0", weights=GIVEN, image_size=size)
    return Case(name, "photos", problem, imagenet(data, problem.pool), project)


def of_pacs(name: str, source: str, target: str, data: Path) -> Case:
    """From one domain of PACS to another."""
    return of_photos(name, lambda at: pacs(at, target, PHOTOS, source), PHOTOS, data)


def of_shapes(name: str, data: Path) -> Case:
    """Drawn shapes, which nobody has tuned anything for; the source is ImageNet."""
    pool, test = shapes(40, seed=1), shapes(40, seed=2)
    return of_photos(name, lambda at: Problem(imagenet(at, pool), pool, test, None), pool.images.shape[2], data)


def of_digits(name: str, read: Callable[[Path], tuple[Split, Split]], data: Path) -> Case:
    """From MNIST, cropped as in `benchmarks.digits`, to other digits, with the pretraining of that benchmark."""
    project = Answers(name, backbone="convnet_small", image_size=SMALL, channels=1, flip=False)
    source = _npz(data / "mnist/train.npz", margin=3)
    settings: PretrainSettings = parse(SETTINGS["pretrain"], PretrainSettings, where="pretrain")
    problem = _pretrained(settings, source, *read(data))
    return Case(name, "digits", problem, problem.pretrained, project)


def of_texts(name: str, source: Path, target: Path, data: Path) -> Case:
    """From the texts of one domain to those of another, each a folder."""
    project = Answers(name, backbone="text_bag")
    parts = [_tsv(data / source / "train.tsv"), *(_tsv(data / target / f"{part}.tsv") for part in ("train", "test"))]
    texts = Texts(source=parts[0][1], pool=parts[1][1], test=parts[2][1])
    prepare: PrepareSettings = section(project, "prepare", PrepareSettings)
    tokenizer = train_tokenizer([*texts.pool, *texts.source], prepare.text_vocabulary)
    known, pool, test = (
        Split(
            torch.from_numpy(encode(tokenizer, part, prepare.text_length)[0]),
            torch.tensor([sorted(set(labels)).index(label) for label in labels]),
            tuple(sorted(set(labels))),
            vocabulary=tokenizer.get_vocab_size(),
        )
        for labels, part in parts
    )
    problem = _pretrained(section(project, "pretrain", PretrainSettings), known, pool, test)
    return Case(name, "texts", problem, problem.pretrained, project, texts)


def _pretrained(settings: PretrainSettings, source: Split, pool: Split, test: Split) -> Problem:
    with redirect_stdout(io.StringIO()):
        network = source_model(settings, source, None, "pretrain").network
    return Problem(network, pool, test, source)


def usps(data: Path) -> tuple[Split, Split]:
    """Digits on envelopes."""
    pool, test = (_npz(data / f"usps/{part}.npz") for part in ("train", "test"))
    return pool, test


def of_sklearn(_: Path) -> tuple[Split, Split]:
    """scikit-learn's own 1,797 handwritten digits, every third for the test."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.clip(found.images * 16, 0, 255).astype(np.uint8)
    test = np.arange(len(images)) % 3 == 0
    classes = tuple(str(name) for name in found.target_names)
    pool, held = (_small(images[rows], found.target[rows], classes) for rows in (~test, test))
    return pool, held


def _npz(path: Path, margin: int = 0) -> Split:
    with np.load(path) as archive:
        images, labels, names = (archive[name] for name in ("images", "labels", "class_names"))
    end = images.shape[1] - margin
    return _small(images[:, margin:end, margin:end], labels, tuple(str(name) for name in names))


def _small(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> Split:
    """Grey images (N, H, W) at the size of digits."""
    resized = np.stack([fit(Image.fromarray(image), SMALL) for image in images])
    return Split(torch.from_numpy(resized), torch.from_numpy(labels.astype(np.int64)), classes)


def _tsv(path: Path) -> tuple[list[str], list[str]]:
    """Labels and texts."""
    rows = [line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines() if "\t" in line]
    return [label for label, _ in rows], [text for _, text in rows]


PAIRS = {
    "photo-art": ("photo", "art_painting"),
    "photo-cartoon": ("photo", "cartoon"),
    "photo-sketch": ("photo", "sketch"),
    "art-cartoon": ("art_painting", "cartoon"),
    "cartoon-sketch": ("cartoon", "sketch"),
    "sketch-art": ("sketch", "art_painting"),
    "sketch-photo": ("sketch", "photo"),
}
HELD_BACK = "sketch-photo"
"""For one check, once everything else is settled; a run has to ask for it by name."""
SENTENCES = Path("uci_sentences")
CASES: dict[str, Callable[[Path], Case]] = {
    **{name: partial(of_pacs, name, *pair) for name, pair in PAIRS.items()},
    "hymenoptera": partial(of_photos, "hymenoptera", hymenoptera, SIZES["hymenoptera"]),
    "shapes": partial(of_shapes, "shapes"),
    "mnist-usps": partial(of_digits, "mnist-usps", usps),
    "mnist-sklearn": partial(of_digits, "mnist-sklearn", of_sklearn),
    "imdb-yelp": partial(of_texts, "imdb-yelp", SENTENCES / "imdb", SENTENCES / "yelp"),
    "amazon-imdb": partial(of_texts, "amazon-imdb", SENTENCES / "amazon", SENTENCES / "imdb"),
    "yelp-amazon": partial(of_texts, "yelp-amazon", SENTENCES / "yelp", SENTENCES / "amazon"),
    "sms_spam": partial(of_texts, "sms_spam", SENTENCES / "amazon", Path("sms_spam")),
}
"""How each case is loaded from the folder of data."""
USUAL = tuple(name for name in CASES if name != HELD_BACK)
