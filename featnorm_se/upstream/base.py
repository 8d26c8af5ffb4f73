"""The contract that every upstream keeps: sites by name, features on padded batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream.padding import zero_padding
from featnorm_se.upstream.pieces import Part

Steps = Generator[tuple[str, Tensor, Tensor], Tensor, None]
Count = TypeVar("Count", int, Tensor)


class Upstream(nn.Module):
    """A pre-trained speech model, seen as an ordered list of sites.

    A family implements ``walk``, ``frames`` and ``configure``'s hooks; the rest is here.
    Features have shape (B, T, D): batch, frames, channels. Waveforms are 16 kHz float32 of
    shape (B, N) with the number of valid samples (B,) beside.

    Attributes:
        name: as asked for, for example ``wavlm``.
        family: ``wavlm``, ``hubert``, ``wav2vec2``, ``mockingjay``, ``tera`` or ``fbank``.
        hop: samples from one frame to the next.
        offset: sample at the centre of frame 0.
        width: channels of the transformer's layers.
        num_layers: number of transformer layers.
        sites: name and width of each site, from the signal upwards.
        lowest_site: the lowest site at which feature normalization acts (``auto``).
        group_norm: the first convolution normalizes over time, so the model's own batched
            output depends on the padding (see ``padding``).
        padding: ``exact`` (the default) gives each utterance the output it has alone;
            ``s3prl`` gives what s3prl's expert gives for the padded batch.
        config: plain containers from which the same architecture is built without a file.
        identity: ``sha256:<hex>`` of the checkpoint file or ``scratch:<seed>``.
        model: s3prl's own module, without its hooks.
        norms: one normalization module a site, keyed by the site with ``_`` for ``.``.
        part: the rows of a batch are parts of a longer file, which says where pieces begin;
            ``None``: they are whole utterances.
    """

    family: str = ""
    model: Any  # s3prl's modules carry no types

    def __init__(self, model: Any, config: dict[str, Any]) -> None:
        super().__init__()
        self.name = self.family
        self.config = config
        self.identity = ""
        self.hop = 0
        self.offset = 0
        self.width = 0
        self.num_layers = 0
        self.sites: dict[str, int] = {}
        self.lowest_site = "frontend"
        self.group_norm = False
        self.padding = "exact"
        self.layer_drop = 0.0
        self.spec_augment = False
        self.gradient_checkpointing = False
        self.fast = True
        self.freeze = "none"
        self.model = model
        self.norms = nn.ModuleDict()
        self.part: Part | None = None
        self._origin: Callable[[], dict[str, Tensor]] | None = None
        # Last on purpose: ESPnet's `init:` visits modules in order (see _InitGuard).
        self.init_guard = _InitGuard(self)

    def frames(self, samples: Count) -> Count:
        """Number of output frames for so many samples; (B,) tensors are taken too."""
        raise NotImplementedError

    def piece(self, samples: int) -> int:
        """Samples of the pieces that an utterance goes through in; 0: it goes as a whole."""
        return 0

    def walk(self, wav: Tensor, wav_lengths: Tensor) -> Steps:
        """Yield ``(site, x, lengths)`` from the signal upwards and take back what to go on with.

        The caller sends the (normalized) features of the site back; a walk that is not gone on
        with computes nothing deeper.

        Args:
            wav: (B, N) samples; lengths (B,) say how many are valid.
            wav_lengths: (B,) valid samples.

        Yields:
            The site's name, its features (B, T, D) and the valid frames (B,).
        """
        raise NotImplementedError

    def resolve_site(self, site: str) -> str:
        """Return the canonical name of a site; ``auto`` and ``last`` are taken.

        Raises:
            FeatnormError: there is no such site; the message lists those there are.
        """
        named = {"auto": self.lowest_site, "last": list(self.sites)[-1]}
        canonical = named.get(site.strip(), site.strip())
        if canonical not in self.sites:
            raise FeatnormError(
                f"upstream {self.name} has no site {site!r}; it has {', '.join(self.sites)},"
                " and the names auto and last"
            )
        return canonical

    def resolve_sites(self, sites: str | Sequence[str]) -> list[str]:
        """Return canonical sites in order of depth, from ``"frontend,layer.3"`` or a list.

        Raises:
            FeatnormError: a site does not exist or is named twice, or none is named.
        """
        asked = sites.split(",") if isinstance(sites, str) else list(sites)
        chosen = [self.resolve_site(site) for site in asked if site.strip()]
        twice = sorted({site for site in chosen if chosen.count(site) > 1})
        if twice:
            raise FeatnormError(f"site {twice[0]} is named twice in {','.join(asked)!r}")
        if not chosen:
            raise FeatnormError("no site is named; give one of " + ", ".join(self.sites))
        return [site for site in self.sites if site in chosen]

    def set_norm(self, site: str, module: nn.Module | None) -> None:
        """Set ``module(x, lengths) -> x`` to act at a site; ``None`` takes it off."""
        key = self.resolve_site(site).replace(".", "_")
        if module is not None:
            self.norms[key] = module
        elif key in self.norms:
            del self.norms[key]

    def extract(
        self,
        wav: Tensor,
        wav_lengths: Tensor,
        sites: Sequence[str],
        *,
        apply_norms: bool = True,
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
        steps = self.walk(wav, wav_lengths)
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
        layer_drop: float = 0.0,
        spec_augment: bool = False,
        gradient_checkpointing: bool = False,
        fast: bool = True,
    ) -> None:
        """Set how the upstream is fine-tuned. May be called again; the last call counts.

        Parameters that can never get a gradient are always switched off, so that distributed
        training needs no search for unused parameters.

        Args:
            freeze: ``none``; ``cnn``, the convolutional encoder (nothing for mel models, which
                have none); or ``all``. Frozen parts stay in eval mode.
            dropout: for hidden states and attention; ``None`` keeps the checkpoint's own.
            layer_drop: probability of leaving out a layer in training. A left-out layer gets
                zero gradients, not none.
            spec_augment: mask time and channels in training (see ``masking.py``).
            gradient_checkpointing: recompute layers and convolutions when their gradients are due.
            fast: run the waveform models by our own arithmetic on s3prl's weights, the same to
                rounding; ``False`` runs s3prl's modules (to compare).

        Raises:
            FeatnormError: a value is out of range.
        """
        if freeze not in ("none", "cnn", "all"):
            raise FeatnormError(f"freeze is none, cnn or all, not {freeze!r}")
        for what, rate in (("dropout", dropout), ("layer_drop", layer_drop)):
            if rate is not None and not 0.0 <= rate < 1.0:
                raise FeatnormError(f"the upstream's {what} must be in [0, 1), not {rate}")
        self.freeze = freeze
        self.layer_drop = layer_drop
        self.spec_augment = spec_augment
        self.gradient_checkpointing = gradient_checkpointing
        self.fast = fast
        self.set_dropout(dropout)
        unused = {id(p) for p in self.unused_parameters()}
        frozen = {id(p) for part in self.frozen_parts() for p in part.parameters()}
        for parameter in self.model.parameters():
            parameter.requires_grad_(id(parameter) not in unused | frozen)
        self.train(self.training)

    def frozen_parts(self) -> list[nn.Module]:
        """The modules that the present ``freeze`` holds still."""
        if self.freeze == "all":
            return [self.model]
        return self.cnn_parts() if self.freeze == "cnn" else []

    def cnn_parts(self) -> list[nn.Module]:
        """The convolutional encoder, if the family has one."""
        return []

    def unused_parameters(self) -> list[nn.Parameter]:
        """Parameters that no forward pass of fine-tuning touches."""
        return []

    def set_dropout(self, dropout: float | None) -> None:
        """Set the dropout of hidden states and attention; ``None`` restores the model's own."""

    def train(self, mode: bool = True) -> Upstream:
        """Set training mode; frozen parts stay in eval mode."""
        super().train(mode)
        for part in self.frozen_parts():
            part.eval()
        return self

    def restore_weights(self) -> None:
        """Put the weights back that ``load_upstream`` gave (read or drawn again)."""
        if self._origin is not None:
            self.model.load_state_dict(self._origin())

    def espnet_initialization_fn(self) -> None:
        """Part of ESPnet's protocol; the work is done by the guard below."""

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

    def extra_repr(self) -> str:
        """Name, weights and sites, for ``print(upstream)``."""
        return f"{self.name}, {self.identity}, sites {', '.join(self.sites)}"


class _InitGuard(nn.Module):
    """Keeps ESPnet's ``init:`` from overwriting pre-trained weights.

    ``espnet2.torch_utils.initialize`` draws all weights anew first and calls
    ``espnet_initialization_fn`` of each module afterwards, in the order of ``modules()``,
    resetting layer norms on the way. So a function that does nothing protects nothing: the
    weights must be put back, and by the module that is visited last.
    """

    def __init__(self, owner: Upstream) -> None:
        super().__init__()
        # In a tuple, so that the owner is not registered as a child of its own child.
        self._owner = (owner,)

    def espnet_initialization_fn(self) -> None:
        """Put the owner's weights back."""
        self._owner[0].restore_weights()
