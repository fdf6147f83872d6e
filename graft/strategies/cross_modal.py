"""Other modality: a transformer trained on images reads texts, or vice versa."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, cast

from annotated_types import Gt, Lt
from torch import Tensor, nn

from graft.contract import ParameterGroup, Step, Strategy
from graft.networks.heads import fresh_head
from graft.networks.network import Network
from graft.networks.stages import NORMS, stages
from graft.networks.transformer import Transformer, mean_of_tokens, presence
from graft.settings import Positive, Searched
from graft.techniques.carry import ORIGIN
from graft.techniques.optimal_transport import dataset_distance


@dataclass(frozen=True)
class CrossModal(Strategy):
    """Transfer a transformer's body to another modality, with a new embedding and a new head, in one of three ways.

    `norms` freezes the body except for its layer norms (Lu, Grover, Abbeel & Mordatch 2021, 'Pretrained Transformers
    as Universal Computation Engines'); `tuned` trains all of it; `aligned` first trains only the embedding, for a share
    of the steps, to bring its outputs on the target's labelled data close to those of the source's embedding on the
    source's, classes included: OTDD(e_t(x_t), y_t; e_s(x_s), y_s); then everything on the labels (Shen et al. 2023,
    'Cross-Modal Fine-Tuning: Align then Refine'). OTDD models classes as Gaussians with diagonal covariances, over a
    batch and the mean of its tokens; the authors also do so over whole classes. Otherwise minimises the target's
    cross-entropy. As a control, the same strategy with a random body is trained alongside: the gain over it is due to
    the source, the rest to the architecture. It fails where the source's body computes nothing that the target needs,
    or where the target has enough labels to train a body of its own.

    If source and target are of one modality, only the head is new; `norms` then tunes the embedding and the norms.
    """

    crosses_modalities: ClassVar[bool] = True

    mode: Annotated[Literal["tuned", "norms", "aligned"], Searched()] = "tuned"
    """Which part of the body is trained, and whether the embedding is aligned first."""
    align_share: Annotated[float, Gt(0.0), Lt(1.0)] = 0.2
    """With `aligned`: share of the steps that align the embedding."""
    body_rate: Positive = 1.0
    """Learning rate of the body, relative to that of embedding and head."""
    body: Literal["source", "random"] = "source"
    """Start from the source's body, or from a random one (the control)."""

    @property
    def uses_source_data(self) -> bool:
        """Only to align the embeddings."""
        return self.mode == "aligned"

    def companions(self, source: Network) -> dict[str, Strategy]:
        """The same strategy with a random body."""
        return {"random body": replace(self, body="random")} if self.body == "source" else {}

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The network with a fresh head; its body random, or frozen except for its norms, as the knobs say."""
        network, origin = source, source.extra(ORIGIN)
        if self.mode == "aligned" and origin is None:
            raise ValueError(
                "cross_modal aligns the embeddings of two modalities, but source and target are of one: "
                "use `mode: tuned` or `norms`"
            )
        if self.body == "random":
            network = Network(source.description)
            if origin is not None:
                network.extras[ORIGIN] = origin
        fresh_head(network, classes)
        if self.mode == "norms":
            _freeze_between(network)
        return network

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The embedding and the head at rate 1; the body at its own."""
        reads = {id(p) for p in _reading(network)}
        body = [p for p in network.backbone.parameters() if p.requires_grad and id(p) not in reads]
        return [ParameterGroup([*_reading(network), *network.head.parameters()]), ParameterGroup(body, self.body_rate)]

    def loss(self, network: Network, step: Step) -> Tensor:
        """First the distance between the embeddings, if they are aligned; then the cross-entropy."""
        if self.mode == "aligned" and step.progress < self.align_share:
            return _distance(network, step)
        return step.target.cross_entropy(network(step.target.images))


def _reading(network: Network) -> list[nn.Parameter]:
    """The weights closest to the input: a transformer's embedding, or the first stage of another backbone."""
    if isinstance(network.backbone, Transformer):
        return list(network.backbone.embedding.parameters())
    return list(stages(network.backbone)[0].parameters)


def _freeze_between(network: Network) -> None:
    """Freeze the body except for the embedding and the norms."""
    free = {id(p) for p in _reading(network)}
    for module in network.backbone.modules():
        if isinstance(module, NORMS):
            free |= {id(p) for p in module.parameters(recurse=False)}
    for parameter in network.backbone.parameters():
        parameter.requires_grad_(id(parameter) in free)


def _distance(network: Network, step: Step) -> Tensor:
    """OTDD between both embeddings of a batch, averaged over tokens; only the new one gets a gradient."""
    origin = cast(Network, network.extras[ORIGIN].module)
    return dataset_distance(
        _embedded(origin, step.source.images).detach(),
        step.source.labels,
        _embedded(network, step.target.images),
        step.target.labels,
    )


def _embedded(network: Network, read: Tensor) -> Tensor:
    """Embeddings (B, D), averaged over tokens."""
    body = cast(Transformer, network.backbone)
    if read.ndim == 4:
        read = (read - network.mean) / network.std
    return mean_of_tokens(body.embedding(read), presence(read))
