"""The manifest of a model: what it is, what it expects, what it answers, and the hashes of its files.

A model's version is a hash over everything that decides how it behaves: the hashes of its files and the manifest's own
content, less the three fields that don't (`version` itself, `trained_at`, `signature`). Whoever changes a weight, the
calibration or a golden value changes the version, so a tampered folder no longer answers to its name.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

VERSION_HEX_DIGITS = 16
"""64 bits: enough that two models of one registry never share a name, short enough to read out."""

PROBABILITY_FLOOR = 1e-9
"""Raw probabilities are kept this far from 0 and 1, so that their log-odds stay finite."""

GOLDEN_TOLERANCE = 1e-6
"""Float32 arithmetic of another processor moves a probability by less; a wrong model moves it by far more."""

MODEL_FILE = "model.onnx"
EXPLANATION_FILE = "explanation.json"
CARD_FILE = "card.json"
REFERENCE_FILE = "reference.json"
MANIFEST_FILE = "manifest.json"


class ArtifactFault(StrEnum):
    """Why a model, or a pointer to one, is not accepted."""

    MISSING = "missing"
    """A file or folder that should be there is not."""
    SYNTAX = "syntax"
    """A JSON file that can't be read as what it should be."""
    HASH = "hash"
    """Bytes that are not those that were registered."""
    SIGNATURE = "signature"
    """Not signed, or not by a key that is trusted, where signatures are asked for."""
    VERSION = "version"
    """A name that is no version, or not that of the content."""
    SHAPE = "shape"
    """Parts that don't fit together: feature counts, golden rows, calibration."""
    GOLDEN = "golden"
    """The loaded model answers its golden inputs with something else."""
    INCOMPATIBLE = "incompatible"
    """A sound model that this process can't feed: another feature set, say."""
    UNEXPLAINED = "unexplained"
    """A sound model that gives no exact contributions, where it would have to decide: a decline has to be explained."""


class ArtifactRefused(Exception):
    """A model that must not be used. `reason` is for metrics and alerts, `detail` for people."""

    def __init__(self, reason: ArtifactFault, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Platt's two numbers: p = sigmoid(slope * logit(raw) + intercept), in natural log-odds.

    They stand outside the model's graph because exporting a calibrator along with the model has been seen to change
    its answers. Source: Platt, "Probabilistic Outputs for Support Vector Machines" (1999).
    """

    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, raw: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of default for raw ones, of any shape."""
        return sigmoid(self.slope * logit(raw) + self.intercept)


class DataWindow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which examples a model was made from. Times are canonical (UTC); each part holds rows from its start on."""

    as_of: str
    train_from: str
    validate_from: str
    test_from: str
    test_to: str
    """The last example's own time."""
    train_rows: int
    validate_rows: int
    test_rows: int
    data_sha256: str
    """Over features, labels and times in order: the same data gives the same digest."""


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Inputs whose answers are known: a scorer that loads the model must find the same before it uses it."""

    inputs: list[list[float | None]]
    """Rows in `feature_names` order; null is a missing value."""
    raw: list[float]
    probabilities: list[float]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: str
    family: str
    """The name of the model family that trained it, such as `logistic`."""
    feature_set_version: str
    feature_names: list[str]
    """The inputs of the model, in order: a subset of the feature set."""
    files: dict[str, str]
    """Name of each file beside the manifest to the SHA-256 (hex) of its bytes. Without `explanation.json` the model
    gives no exact contributions: it may answer in shadow, and never decide."""
    calibration: Calibration
    metrics: dict[str, float]
    """On the test part, with the calibrated probabilities."""
    data_window: DataWindow
    golden: Golden
    trained_at: str
    signature: str | None = None
    """shared.model_artifact.signing"""

    @property
    def explained(self) -> bool:
        """Whether the model may decide."""
        return EXPLANATION_FILE in self.files


def sigmoid(log_odds: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)), without overflow at either end."""
    values = np.asarray(log_odds, dtype=np.float64)
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


def logit(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Natural log-odds; probabilities are first kept `PROBABILITY_FLOOR` away from 0 and 1."""
    clipped = np.clip(np.asarray(probabilities, dtype=np.float64), PROBABILITY_FLOOR, 1.0 - PROBABILITY_FLOOR)
    return np.log(clipped) - np.log1p(-clipped)


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def version_of(manifest: Manifest) -> str:
    """The version that this content has, whatever `manifest.version` says."""
    neutral = msgspec.structs.replace(manifest, version="", trained_at="", signature=None)
    return sha256_hex(msgspec.json.encode(neutral, order="deterministic"))[:VERSION_HEX_DIGITS]


def sealed(manifest: Manifest) -> Manifest:
    """The same manifest under the version that its content has."""
    return msgspec.structs.replace(manifest, version=version_of(manifest))


def check_shape(manifest: Manifest) -> None:
    """Raises `ArtifactRefused` where the manifest's own parts contradict each other."""
    names, golden = manifest.feature_names, manifest.golden
    if not names or len(set(names)) != len(names):
        raise ArtifactRefused(ArtifactFault.SHAPE, "feature names must be present and distinct")
    if not golden.inputs or not len(golden.inputs) == len(golden.raw) == len(golden.probabilities):
        raise ArtifactRefused(ArtifactFault.SHAPE, "golden inputs and answers must be present and of one length")
    if any(len(row) != len(names) for row in golden.inputs):
        raise ArtifactRefused(ArtifactFault.SHAPE, f"a golden row must have {len(names)} values")
    numbers = (manifest.calibration.slope, manifest.calibration.intercept)
    if not np.isfinite(numbers).all() or manifest.calibration.slope <= 0:
        raise ArtifactRefused(ArtifactFault.SHAPE, "the calibration must be finite and keep the order of the scores")
    calibrated = manifest.calibration.apply(np.asarray(golden.raw))
    if not np.allclose(calibrated, golden.probabilities, rtol=0, atol=GOLDEN_TOLERANCE):
        raise ArtifactRefused(ArtifactFault.SHAPE, "golden probabilities are not the calibrated raw ones")


def golden_matrix(manifest: Manifest) -> NDArray[np.float32]:
    """Golden inputs as the model wants them: float32 [n, F], NaN for null."""
    rows = [[np.nan if value is None else value for value in row] for row in manifest.golden.inputs]
    return np.asarray(rows, dtype=np.float32)


def check_golden(manifest: Manifest, raw: NDArray[np.floating]) -> None:
    """Compares the raw probabilities [n] that a loaded model gives for `golden_matrix`. Raises `ArtifactRefused`."""
    expected = np.asarray(manifest.golden.raw)
    if raw.shape != expected.shape or not np.allclose(raw, expected, rtol=0, atol=GOLDEN_TOLERANCE):
        raise ArtifactRefused(ArtifactFault.GOLDEN, "the model does not give its golden answers")
