"""Benchmarks and fault measurements of Symbolon: `python3 -m bench` lists them."""
