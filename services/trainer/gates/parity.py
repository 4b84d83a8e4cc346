"""Whether the registered graph answers as it was registered to, and as it is explained.

At training, graph and library were compared on every row (`export`); what is registered is compared here with the
answers that it brought along, with its own explanation, and with itself row by row: a checkout sends one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from services.trainer.export import MAX_UNEXPLAINED, ExportRefused, run_onnx, unexplained
from services.trainer.gates.dossier import Dossier
from services.trainer.gates.verdict import PARITY, GateVerdict, of_faults
from shared.model_artifact.manifest import GOLDEN_TOLERANCE, ArtifactRefused, check_golden, golden_matrix

ALONE = 32
"""Rows that are asked one by one as well."""


def parity(dossier: Dossier) -> GateVerdict:
    rows = len(dossier.holdout)
    sound = f"golden answers given again, and contributions add up within {MAX_UNEXPLAINED:g} on {rows} rows"
    try:
        return of_faults(PARITY, _faults(dossier), sound)
    except ExportRefused as refused:
        return GateVerdict(PARITY, False, str(refused))


def _faults(dossier: Dossier) -> Iterator[str]:
    files = dossier.files
    try:
        check_golden(files.manifest, run_onnx(files.onnx, golden_matrix(files.manifest)))
    except ArtifactRefused as refused:
        yield refused.detail
    if files.explanation is None:
        yield "it gives no exact contributions: it may answer in shadow by hand, and never decide"
        return
    matrix = dossier.holdout.columns(tuple(files.manifest.feature_names))
    off = unexplained(files.explanation, files.onnx, matrix)
    if not off <= MAX_UNEXPLAINED:
        yield f"contributions add up to another score, off by up to {off:.2e}"
    some = matrix[:ALONE]
    alone = np.concatenate([run_onnx(files.onnx, row[None, :]) for row in some])
    apart = float(np.abs(alone - run_onnx(files.onnx, some)).max())
    if not apart <= GOLDEN_TOLERANCE:
        yield f"a row alone gets another score than among others, off by up to {apart:.2e}"
