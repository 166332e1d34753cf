"""Parts of `serve.py`, `overload.py` and `soak.py`: what is served, who serves it, who asks, and what came of it."""
