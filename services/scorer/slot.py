"""The place where the models in service stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from shared.deciding import Lineup
from shared.deciding.onnx_model import OnnxModel
from shared.experiments import Experiment


class ModelSlot:
    """Holds who is in service. Reading `lineup` is one attribute access: a swap never falls into the middle of an
    answer, since whoever answers has taken the line-up once."""

    def __init__(self) -> None:
        self.current: OnnxModel | None = None
        self.lineup = Lineup({})

    def put(self, current: OnnxModel, previous: OnnxModel | None = None) -> None:
        """`previous`: the model before, where it was trained on another feature set: while a new set comes into
        service, vectors of both are on the topic, and each finds its model."""
        self.current = current
        before = {} if previous is None else {previous.feature_set_version: previous}
        self.lineup = replace(self.lineup, champions={**before, current.feature_set_version: current})

    def try_out(
        self, challengers: Sequence[OnnxModel], experiment: Experiment | None, arms: Mapping[str, OnnxModel]
    ) -> None:
        """Put models beside the champion; those that were tried before are not any more."""
        self.lineup = replace(self.lineup, challengers=tuple(challengers), experiment=experiment, arms=dict(arms))
