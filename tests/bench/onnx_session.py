"""ONNX Runtime as the scorer sets it, for programs with nothing else of ours."""

from __future__ import annotations

import onnxruntime


def session_of(onnx: bytes) -> onnxruntime.InferenceSession:
    """With one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
