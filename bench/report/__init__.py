"""The report: what was measured, as one HTML page and its figures and tables as files.

`python -m bench.report` is the command (`__main__`). `observe` runs bundles on images and `points`
reads measured operating points; `layers`, `ofms` and `tradeoff` draw them, `table` sets them beside
published figures, `page` writes it all.
"""
