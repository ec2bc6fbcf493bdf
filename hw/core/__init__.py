"""The core around the layer engine: registers, programs, memory."""
