"""From an ONNX file to a network of operations."""
