"""What is in preference data: agreement, annotators, biases, duplicates, contamination, noise."""
