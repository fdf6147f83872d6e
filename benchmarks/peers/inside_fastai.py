"""Runs in fastai's environment: reads images and weights, applies fastai's recipe, writes what the network says.

    python inside_fastai.py ASKED.npz FOUND.npz

The recipe is fastai's, with its defaults: `vision_learner` (its own head, Adam, batch norm in training mode),
`aug_transforms`, and `fine_tune`, that is one epoch of the head, then all weights with a one-cycle schedule and rates
that are a hundred times lower for the body (Howard & Gugger 2020, 'fastai: A Layered API for Deep Learning'). Ours are
the network, its weights and its normalisation. Of Graft only the network is imported, which is pure torch.
"""

import sys
import time

import numpy as np
import torch
from fastai.vision.all import (  # type: ignore[import-not-found, unused-ignore]
    DataBlock,
    Normalize,
    TensorCategory,
    TensorImage,
    TransformBlock,
    aug_transforms,
    set_seed,
    vision_learner,
)

from graft.networks.efficientnet_lite import MEAN, STD, efficientnet_lite0


def main(asked: str, found: str) -> None:
    """Train on all paid images, and say what the test images show."""
    torch.set_num_threads(1)
    with np.load(asked) as file:
        given = {name: file[name] for name in file.files}
    set_seed(int(given["seed"]), reproducible=True)
    images, labels, count = given["images"], given["labels"], len(given["labels"])
    batch_size = min(int(given["batch_size"]), count)

    def body(*, pretrained: bool) -> torch.nn.Module:  # noqa: ARG001  (fastai passes it)
        network = efficientnet_lite0()
        prefix = "weights/"
        state = {name[len(prefix) :]: torch.from_numpy(given[name]) for name in given if name.startswith(prefix)}
        network.load_state_dict(state)
        return network

    block = DataBlock(
        blocks=(TransformBlock(), TransformBlock()),
        get_x=lambda place: TensorImage(torch.from_numpy(images[place]).float() / 255),
        get_y=lambda place: TensorCategory(int(labels[place])),
        splitter=lambda places: (list(range(len(places))), []),
        batch_tfms=[*aug_transforms(), Normalize.from_stats(MEAN, STD, cuda=False)],
    )
    loaders = block.dataloaders(list(range(count)), bs=batch_size, num_workers=0, device=torch.device("cpu"))
    start = time.process_time()
    learner = vision_learner(
        loaders, body, n_out=int(given["classes"]), normalize=False, loss_func=torch.nn.CrossEntropyLoss()
    )
    per_epoch = count // batch_size
    epochs = max(1, -(-int(given["steps"]) // per_epoch) - 1)  # one more is the head's
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
    seconds = time.process_time() - start
    learner.model.eval()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        parts = torch.from_numpy(given["test"]).split(64)
        said = torch.cat([learner.model((part.float() / 255 - mean) / std).argmax(dim=1) for part in parts])
    np.savez(found, said=said.numpy(), seconds=seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
