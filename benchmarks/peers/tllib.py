"""Transfer-Learning-Library's task adaptation and FixMatch, in short form, on our network.

The losses, their weights and the training are those that its scripts recommend (`examples/task_adaptation` and
`examples/semi_supervised_learning` of thuml/Transfer-Learning-Library); nothing is copied. Its scripts train for 10,000
steps on a GPU, which nobody waits for on two cores; here `passes` times as many images as Graft's strategies see, with
the schedule shortened alike. They also keep the weights that are best on the test split; here the last ones are kept.

Legend: B batch, N images.
"""

import io
from collections.abc import Callable
from contextlib import redirect_stdout

import torch
from torch import Tensor

from benchmarks.peers.cell import Answer, Cell, Peer
from benchmarks.peers.fixmatch import FixMatch
from benchmarks.peers.ours import section
from benchmarks.peers.tllib_methods import BiTuning, Bss, CoTuning, Delta, Given, Method, Plain
from graft.data.augment import augment
from graft.data.sampling import Batches
from graft.data.split import Split
from graft.networks.network import as_read, predict
from graft.settings import Augmentation
from tasks.settings.finetune import FinetuneSettings

FAMILY = "TLlib"
PASSES = 10.0
BATCH = 48
AUGMENTATION = Augmentation(flip=0.5, area=0.2)
"""A random crop of a fifth of the area or more, and flips."""
METHODS: dict[str, type[Method]] = {
    "TLlib fine-tuning": Plain,
    "TLlib Co-Tuning": CoTuning,
    "TLlib BSS": Bss,
    "TLlib DELTA": Delta,
    "TLlib Bi-Tuning": BiTuning,
    "TLlib FixMatch": FixMatch,
}


def peers(passes: float) -> list[Peer]:
    """One per method."""
    return [Peer(name, FAMILY, ("photos",), _solver(kind, passes)) for name, kind in METHODS.items()]


def _solver(kind: type[Method], passes: float) -> Callable[[Cell], Answer]:
    def solve(cell: Cell) -> Answer:
        training = section(cell.case.project, "finetune", FinetuneSettings).training
        steps = round(passes * training.steps * training.batch_size / BATCH)
        with redirect_stdout(io.StringIO()):
            torch.manual_seed(cell.seed)
            method = kind(cell.case.weights, cell.paid)
            _train(method, cell, steps)
        return Answer(predict(method.network, cell.case.problem.test.images)[0].argmax(dim=1).numpy())

    return solve


def _train(method: Method, cell: Cell, steps: int) -> None:
    """SGD with Nesterov's momentum, as all of its scripts do.

    Raises:
        ValueError: the loss is no longer finite.
    """
    groups = [{"params": list(found), "lr": method.rate * scale} for found, scale in method.parameter_groups()]
    optimiser = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: method.schedule(step, steps))
    labelled, pool = _Views(cell.paid, method.batch, cell.seed), _Views(cell.target.unlabelled, method.batch, cell.seed)
    method.train()
    for _ in range(steps):
        first, second, labels = labelled.pair()
        loss = method.loss(Given(first, second, labels, pool.pair()[:2] if method.uses_pool else None))
        if not loss.isfinite():
            raise ValueError("the loss is no longer finite")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


class _Views:
    """Two augmented views of each image of a batch."""

    def __init__(self, images: Split, batch: int, seed: int) -> None:
        self._split, self._generator = images, torch.Generator().manual_seed(seed)
        self._order = Batches(len(images), min(batch, len(images)), self._generator)

    def pair(self) -> tuple[Tensor, Tensor, Tensor]:
        """Views (B, C, H, W), others, and labels (B,)."""
        chosen = next(self._order)
        images = as_read(self._split.images[chosen])
        first, second = (augment(images, AUGMENTATION, self._generator) for _ in range(2))
        return first, second, self._split.labels[chosen]
