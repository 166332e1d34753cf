"""Where images come from: named benchmarks, folders, arrays, and characters drawn from fonts."""
