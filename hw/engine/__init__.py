"""The layer engine: one convolution, or a strip of it, from its ifm buffer to its ofm stream."""
