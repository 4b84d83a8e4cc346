"""From a feature vector to a decision: models, policy and reasons in one pure function.

The scorer calls it for live purchases, at both doors; whoever replays a stored decision calls the same function, and
has to get the same bytes. Only `onnx_model` knows the model runtime.
"""

from shared.deciding.pipeline import (
    NO_MODEL,
    Channel,
    Degraded,
    Lineup,
    Model,
    ModelFailed,
    Scores,
    decide,
    fits,
    inputs_of,
    matrix_of,
)

__all__ = [
    "NO_MODEL",
    "Channel",
    "Degraded",
    "Lineup",
    "Model",
    "ModelFailed",
    "Scores",
    "decide",
    "fits",
    "inputs_of",
    "matrix_of",
]
