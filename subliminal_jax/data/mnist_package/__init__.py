"""A tensorflow-datasets builder for MNIST whose source is an installed package, not a download."""
