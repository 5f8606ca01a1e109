"""The annotation application over the store: pages, people, quality. Knows nothing of torch."""
