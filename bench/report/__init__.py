"""The report: one HTML page of measurements, with its figures and tables as files.

`python -m bench.report` is the command (`__main__`). `observe` runs bundles on images, and `points`
reads measured operating points. `costs` tells what layers take, and `choice`, `cycles`, `layers`,
`ofms` and `tradeoff` draw it all; `table` lists methods beside published figures, and `page` writes
the page and its files.
"""
