"""The torch modules; only training and export import them."""
