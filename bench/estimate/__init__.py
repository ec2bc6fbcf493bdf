"""The estimate: whether a network fits a core, how fast it runs there, and what ZAP can gain.

`python -m bench.estimate` is the command (`__main__`). `fit` compares a network with
configurations, and those with FPGAs; `speed` counts cycles and traffic by the compiler's models.
`page` makes sections of the result, for the terminal and as HTML, and `document` makes JSON.
"""
