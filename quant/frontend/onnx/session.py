"""Starts onnxruntime on a model."""

from __future__ import annotations

import torch
from onnx import ModelProto
from onnxruntime import InferenceSession, SessionOptions

__all__ = ["start_session"]

_FATAL = 4
"""onnxruntime's level of messages that says nothing but why it ends the process."""


def start_session(model: ModelProto) -> InferenceSession:
    """A session on the CPU, with as many threads as PyTorch has; raises what onnxruntime does."""
    options = SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = torch.get_num_threads()
    return InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
