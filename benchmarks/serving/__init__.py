"""Parts of `benchmarks/serve.py`: what is served, who serves it, who asks, and what the machine could do at best."""
