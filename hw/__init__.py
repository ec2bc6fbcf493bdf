"""The accelerator in Amaranth: configuration, blocks, the layer engine and its Verilog."""
