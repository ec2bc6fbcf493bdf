"""The report: one HTML page of measurements, with its figures and tables as files.

`python -m bench.report` is the command (`__main__`). `observe` runs bundles on images, and `points`
reads measured operating points. `cycles`, `layers`, `ofms` and `tradeoff` draw them, `table` lists
them beside published figures, and `page` writes the page and its files.
"""
