"""`headwater demo`: a year of real flights through every pattern, on the public API alone.

The way of one run: `run` opens the directory; `play` starts the processes (`crew`, `worker`), which are the `feed` and the consumers of
`roles`, all speaking the types of `model`; `watch` looks on for the `screen` or the `dashboard`; `facts` reads what it all came to;
`independent` computes the same from the CSV, in a process that shares nothing with the rest; `reconcile` lays the two side by side;
`report` writes it down. docs/guides/demo.md says what is counted, and why that is right although a worker is killed.
"""
