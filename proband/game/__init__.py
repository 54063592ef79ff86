"""The game: a generator makes, a discriminator tells real from made. It knows tensors, not patients."""
