"""PyTorch modules; only training and export import them."""
