"""The contract that every upstream keeps: sites by name, features on padded batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from featnorm_se.errors import FeatnormError
from featnorm_se.names import resolve_sites
from featnorm_se.upstream.batching import SILENCE, Part, zero_padding

Steps = Generator[tuple[str, Tensor, Tensor], Tensor, None]
Count = TypeVar("Count", int, Tensor)
Result = TypeVar("Result")
Make = Callable[[], Tensor]


def made_again(spare: bool, *pairs: tuple[Tensor, Make]) -> AbstractContextManager[object]:
    """Return a context in which autograd keeps no tensor of the pairs, nor a view of one.

    To ``spare`` memory it makes them again, by the function beside each, with the same strides.
    """
    if not (spare and pairs):
        return nullcontext()
    makes = {kept.untyped_storage().data_ptr(): make for kept, make in pairs}

    def pack(x: Tensor) -> Any:
        make = makes.get(x.untyped_storage().data_ptr())
        return (make, x.size(), x.stride(), x.storage_offset()) if make else x.detach()

    def unpack(x: Any) -> Tensor:
        return x if isinstance(x, Tensor) else x[0]().as_strided(*x[1:])

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


class Upstream(nn.Module):
    """A pre-trained speech model, seen as an ordered list of sites.

    A family implements ``walk``, and ``count_frames`` and ``configure``'s hooks where it differs;
    the rest is here. An utterance has the same features in a padded batch as alone. Features have
    shape (B, T, D): batch, frames, channels. Waveforms are 16 kHz float32 of shape (B, N) with
    the number of valid samples (B,) beside. Lengths are taken from anywhere, and best from the
    CPU, where those that come back are: reading them from a GPU would wait for it.

    Attributes:
        name: as asked for, for example ``wavlm``.
        family: ``wavlm``, ``hubert``, ``wav2vec2``, ``mockingjay``, ``tera`` or ``fbank``.
        hop: samples from one frame to the next.
        offset: sample at the centre of frame 0.
        shortest: samples that one frame needs.
        width: channels of the transformer's layers.
        num_layers: number of transformer layers.
        sites: name and width of each site, from the signal upwards.
        lowest_site: the lowest site at which feature normalization acts (``auto``).
        group_norm: the first convolution normalizes over time.
        config: plain containers from which the same architecture is built without a file.
        identity: ``sha256:<hex>`` of the checkpoint, one file or two, or ``scratch:<seed>``.
        source: the file or folder that the weights are from; empty: random weights.
        model: s3prl's own module, without its hooks.
        norms: one normalization module a site, keyed by the site with ``_`` for ``.``.
        part: what the rows of a batch are parts of; ``None``: they are whole utterances.
        silence: blocks that vary by less hold no signal; (B, 1): quiet recordings have their own.
    """

    model: Any  # s3prl's modules carry no types

    def __init__(self, model: Any, config: dict[str, Any]) -> None:
        super().__init__()
        self.name = self.family = ""
        self.config = config
        self.identity = self.source = ""
        self.hop = 0
        self.offset = 0
        self.shortest = 1
        self.width = 0
        self.num_layers = 0
        self.sites: dict[str, int] = {}
        self.lowest_site = "frontend"
        self.group_norm = False
        self.model = model
        self.norms = nn.ModuleDict()
        self.part: Part | None = None
        self.silence: float | Tensor = SILENCE
        self._own_dropout: list[float] = []
        self._used: dict[str, set[str]] = {}

    def frames(self, samples: Count) -> Count:
        """Number of output frames for so many samples; (B,) tensors are taken too.

        Fewer samples than ``shortest`` are padded up to it, hence at least one frame.
        """
        if isinstance(samples, Tensor):
            return self.count_frames(samples.clamp(min=self.shortest))
        return self.count_frames(max(samples, self.shortest))

    def count_frames(self, samples: Count) -> Count:
        """Frames of at least ``shortest`` samples; here they are centred on 0, ``hop``, ..."""
        return samples // self.hop + 1

    def piece(self, samples: int) -> int:
        """Samples of the pieces that an utterance goes through in; 0: it goes as a whole."""
        return 0

    def walk(self, wav: Tensor, wav_lengths: Tensor) -> Steps:
        """Yield ``(site, x, lengths)`` from the signal upwards and take back what to go on with.

        That is the site's name, its features (B, T, D) and the valid frames (B,). The caller sends
        the (normalized) features back; a walk that is not gone on with computes nothing deeper.
        ``wav_lengths`` are on the CPU.
        """
        raise NotImplementedError

    def run_part(self, run: Callable[..., Result], *inputs: Any) -> Result:
        """Return ``run(*inputs)``, in training with gradient checkpointing if that is asked for."""
        if self.recomputes():
            run = partial(checkpoint, run, use_reentrant=False)
        return run(*inputs)

    def recomputes(self) -> bool:
        """Whether parts are to be computed again when their gradients are due."""
        return self.gradient_checkpointing and self.model.training and torch.is_grad_enabled()

    def resolve_sites(self, sites: str | Sequence[str]) -> list[str]:
        """Return canonical sites in order of depth; see ``names.resolve_sites``."""
        return resolve_sites(sites, list(self.sites), self.lowest_site)

    def set_norm(self, site: str, module: nn.Module) -> None:
        """Set ``module(x, lengths) -> x`` to act at a site."""
        self.norms[self.resolve_sites([site])[0].replace(".", "_")] = module

    def extract(
        self, wav: Tensor, wav_lengths: Tensor, sites: Sequence[str], *, apply_norms: bool = True
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the features of some sites; nothing deeper than they is computed or kept.

        Args:
            wav: (B, N) float32 samples at 16 kHz.
            wav_lengths: (B,) valid samples.
            sites: the sites whose features are wanted.
            apply_norms: features after the normalization of their site (and built on that of
                the sites below); ``False`` leaves every normalization off.

        Returns:
            Features by canonical site, each (B, T, D) with zeros in the padding, and the valid
            frames (B,).
        """
        wanted = self.resolve_sites(sites)
        kept: dict[str, Tensor] = {}
        steps = self.walk(wav, wav_lengths.cpu())
        site, x, lengths = next(steps)
        while True:
            key = site.replace(".", "_")
            if apply_norms and key in self.norms:
                x = self.norms[key](x, lengths)
            if site in wanted:
                kept[site] = zero_padding(x, lengths)
            if site == wanted[-1]:
                steps.close()
                return kept, lengths
            site, x, lengths = steps.send(x)

    def forward(self, wav: Tensor, wav_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last layer's features (B, T, D), zero in the padding, and lengths (B,)."""
        last = list(self.sites)[-1]
        feats, lengths = self.extract(wav, wav_lengths, [last])
        return feats[last], lengths

    def configure(
        self,
        freeze: str = "none",
        dropout: float | None = None,
        gradient_checkpointing: bool = False,
        fast: bool = True,
        feature: str = "last",
    ) -> None:
        """Set how the upstream is fine-tuned. May be called again; the last call counts.

        Parameters that can never get a gradient are always switched off, so that distributed
        training needs no search for unused parameters.

        Args:
            freeze: ``none``; ``cnn``, the convolutional encoder (mel models have none); or
                ``all``. Frozen parts stay in eval mode.
            dropout: for hidden states and attention; ``None`` keeps the checkpoint's own.
            gradient_checkpointing: recompute layers and convolutions when their gradients are due.
            fast: run the waveform models by our own arithmetic on s3prl's weights (see ``fast``),
                the same to rounding; ``False`` runs s3prl's modules (to compare).
            feature: the highest site that is used; what lies above gets no gradient.

        Raises:
            FeatnormError: a value is out of range.
        """
        if freeze not in ("none", "cnn", "all"):
            raise FeatnormError(f"freeze is none, cnn or all, not {freeze!r}")
        if dropout is not None and not 0.0 <= dropout < 1.0:
            raise FeatnormError(f"the upstream's dropout must be in [0, 1), not {dropout}")
        self.freeze = freeze
        self.gradient_checkpointing = gradient_checkpointing
        self.fast = fast
        self.set_dropout(dropout)
        (feature,) = self.resolve_sites([feature])
        if feature not in self._used:  # it takes a tenth of the time to build
            self._used[feature] = self._find_used(feature)
        frozen = {p for part in self.frozen_parts() for p in part.parameters()}
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in self._used[feature] and parameter not in frozen)
        self.train(self.training)

    def _find_used(self, feature: str) -> set[str]:
        """Return the parameters that a site's features depend on, from autograd's graph."""
        training = self.training
        self.model.requires_grad_()
        self.eval()
        device = next(self.model.parameters(), torch.empty(0)).device
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            wav = torch.zeros(1, self.shortest + self.hop + 3200, device=device)
            found, _ = self.extract(wav, torch.tensor([wav.shape[1]]), [feature], apply_norms=False)
        nodes = {x.grad_fn for x in found.values() if x.grad_fn is not None}
        waiting = list(nodes)
        while waiting:
            before = {node for node, _ in waiting.pop().next_functions if node is not None} - nodes
            nodes |= before
            waiting += before
        self.train(training)
        used = {node.variable for node in nodes if hasattr(node, "variable")}
        return {name for name, parameter in self.model.named_parameters() if parameter in used}

    def s3prl_states(self) -> dict[str, Any]:
        """Return what a checkpoint holds for s3prl's experts; FeatnormError: they have none."""
        config, weights = self.config, self.model.state_dict()
        network = config.get("cfg") or config.get("model_cfg") or {}
        known = network or "transformer" in config
        own = network.get("feat_proj_layer_norm") is False or network.get("post_extract_proj")
        if own or not known:
            raise FeatnormError(f"s3prl has no layout for the upstream {self.name}")
        if self.family == "wavlm":
            return {"cfg": config["cfg"], "model": weights}
        if "transformer" in config:  # Mockingjay and TERA
            return {"Config": {}, "Upstream_Config": config, "Transformer": weights}
        states = {key: config[key] for key in ("task_cfg", "model_cfg")} | {"model_weight": weights}
        if "labels" in config:  # HuBERT's, of which only the number counts
            states["dictionaries_symbols"] = [[*map(str, range(n))] for n in config["labels"]]
        return states

    def frozen_parts(self) -> list[nn.Module]:
        """The modules that the present ``freeze`` holds still."""
        return {"none": [], "cnn": self.cnn_parts(), "all": [self.model]}[self.freeze]

    def cnn_parts(self) -> list[nn.Module]:
        """The convolutional encoder, if the family has one."""
        return []

    def dropouts(self) -> list[tuple[Any, str]]:
        """Where the rates of dropout of hidden states and attention are: objects, attributes."""
        return []

    def set_dropout(self, dropout: float | None) -> None:
        """Set the dropout of hidden states and attention; ``None`` restores the model's own."""
        places = self.dropouts()
        self._own_dropout = self._own_dropout or [getattr(*place) for place in places]
        for (holder, name), own in zip(places, self._own_dropout, strict=True):
            setattr(holder, name, own if dropout is None else dropout)

    def train(self, mode: bool = True) -> Upstream:
        """Set training mode; frozen parts stay in eval mode."""
        super().train(mode)
        for part in self.frozen_parts():
            part.eval()
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Cut what the last forward pass left in the weight-normalized convolution.

        torch keeps its computed weight as a plain attribute with a graph behind it, which can
        neither be copied nor pickled. The next forward pass computes it anew.
        """
        for module in self.model.modules():
            weight = module.__dict__.get("weight")
            if isinstance(weight, Tensor):
                module.__dict__["weight"] = weight.detach()
        return self.__dict__
