"""What is maximised or minimised, one module per objective, on tensors alone."""
