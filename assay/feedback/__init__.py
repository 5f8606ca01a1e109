"""AI feedback: answers checked, rollouts of policies and endpoints, labels of steps."""
