"""All parsers and writers of preference files. Knows nothing of torch, models or training."""
